"""Reads what requests hold, within the limits; all that is wrong is a problem before anything is asked of a bundle."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import UNSET
from starlette.requests import Request
from starlette.types import Receive

from deployrec.runtime.clock import of_text
from deployrec.runtime.events import id_text, shown
from deployrec.runtime.lists import USUAL_K
from deployrec.server.problems import RequestError
from deployrec.server.schemas import Choice, EventsRequest, RecommendationsRequest
from deployrec.server.settings import Limits

Body = TypeVar("Body")
JSON_KINDS = (b"application/json", b"application/x-www-form-urlencoded")
"""The second is what `curl -d` says where it is told nothing else."""
SEVERAL = ("exclude", "only")
"""Parameters of a query that may come several times."""
TRUTH = {"true": True, "false": False, "1": True, "0": False}


async def body_of(request: Request, limits: Limits) -> bytes:
    """The whole body; raises 413 for one that is longer than allowed, 408 for one that does not come."""
    headers = request.scope["headers_by_name"]
    declared = headers.get(b"content-length")
    if declared is not None and (not declared.isdigit() or int(declared) > limits.max_body):
        raise _too_long(limits, shown(declared.decode("latin-1")[:20]))
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise RequestError(415, "expected a body without Content-Encoding; got a compressed one; send it as it is")
    try:
        async with asyncio.timeout(limits.body_seconds):
            return await _received(request.receive, limits)
    except TimeoutError:
        raise RequestError(
            408, f"expected the body within {limits.body_seconds:g} seconds; got a part; send it again", CLOSE
        ) from None


async def read(request: Request, decoder: msgspec.json.Decoder[Body], limits: Limits) -> Body:
    """The body as JSON of the decoder's type; raises 400 for anything else."""
    kind = request.scope["headers_by_name"].get(b"content-type", b"application/json").lower()
    if not kind.startswith(JSON_KINDS):
        raise RequestError(415, "expected Content-Type: application/json; got another; send JSON")
    return decoded(await body_of(request, limits), decoder)


def decoded(content: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    """See `read`."""
    try:
        return decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(
            400, f"expected JSON as /docs describes it; got {' '.join(str(error).split())}; mend it"
        ) from None


def choice_of(k: int | None, asked: EventsRequest | RecommendationsRequest, max_k: int, limits: Limits) -> Choice:
    """The one place that reads which items a request wants."""
    k = min(USUAL_K, max_k) if k is None else k
    check_k(k, max_k)
    exclude_seen = None if asked.exclude_seen is UNSET else asked.exclude_seen
    if asked.exclude is None and asked.only is None and asked.where is None:
        return Choice(k, exclude_seen, now=asked.now)
    return Choice(
        k,
        exclude_seen,
        _named(asked.exclude, "exclude", limits),
        _named(asked.only, "only", limits),
        asked.where,
        asked.now,
    )


def check_k(k: int, max_k: int) -> None:
    """Raises 400 for a list of another length than there may be."""
    if not 1 <= k <= max_k:
        raise RequestError(400, f"expected from 1 to {max_k} items; got {k}; ask for fewer")


def choice_in(request: Request, max_k: int, limits: Limits) -> Choice:
    """`choice_of` what the query says, in which exclude and only may come several times."""
    query = request.query_params
    exclude, only = (list[str | int](query.getlist(name)) or None for name in SEVERAL)
    unknown = set(query) - {"k", "exclude_seen", "where", "now", *SEVERAL}
    single = [name for name, _ in query.multi_items() if name not in SEVERAL]
    if unknown or len(set(single)) < len(single):
        raise RequestError(
            400,
            f"expected k, exclude_seen, where and now once at most, exclude and only; got {shown(request.url.query)}; "
            "mend the query",
        )
    k, truth = query.get("k"), TRUTH.get(query.get("exclude_seen", "true"))
    if truth is None or (k is not None and not (k.isascii() and k.isdigit() and len(k) < 20)):
        raise RequestError(400, f"expected k=10 or exclude_seen=false; got {shown(request.url.query)}; mend the query")
    asked = RecommendationsRequest(
        exclude_seen=truth if "exclude_seen" in query else UNSET,
        exclude=exclude,
        only=only,
        where=query.get("where"),
        now=of_text(query["now"]) if "now" in query else None,
    )
    return choice_of(None if k is None else int(k), asked, max_k, limits)


def user_in(request: Request, limits: Limits) -> str:
    """The user of the path."""
    try:
        user = unquote_to_bytes(request.path_params["user"]).decode()
    except UnicodeDecodeError:
        raise RequestError(400, "expected a user id in UTF-8; got other bytes; encode it as %XX of UTF-8") from None
    return user_id(user, limits)


def user_id(user: Any, limits: Limits) -> str:
    """A user's id as its text."""
    text = id_text(user, "a user id")
    check_ids((text,), limits)
    return text


def check_ids(ids: Iterable[Any], limits: Limits) -> None:
    """Raises 400 for an id that is too long."""
    for value in ids:
        if type(value) is str:
            if len(value) > limits.max_id or (not value.isascii() and len(value.encode()) > limits.max_id):
                raise RequestError(
                    400, f"expected ids of at most {limits.max_id} bytes; got {shown(value)}; shorten it"
                )
        elif type(value) is int and value.bit_length() > 63:
            raise RequestError(
                400, f"expected whole numbers that 64 bits hold as ids; got {shown(value)}; send it as text"
            )


def check_number(number: int, most: int, what: str) -> None:
    """Raises 400 for a list that is too long."""
    if number > most:
        raise RequestError(400, f"expected at most {most:,} {what} in a request; got {number:,}; send them in parts")


async def _received(receive: Receive, limits: Limits) -> bytes:
    message = await receive()
    content = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):  # most bodies come in one piece
        if len(content) > limits.max_body:
            raise _too_long(limits, "more")
        return bytes(content)
    parts, size = [content], len(content)
    while message["type"] == "http.request" and message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.max_body:
            raise _too_long(limits, "more")
    if message["type"] != "http.request":
        raise RequestError(400, "expected a whole body; got the connection's end; send it again")
    return b"".join(parts)


def _named(ids: list[Any] | None, name: str, limits: Limits) -> tuple[Any, ...] | None:
    if ids is None:
        return None
    check_number(len(ids), limits.max_history, f"items in {name}")
    check_ids(ids, limits)
    return tuple(ids)


CLOSE = {"Connection": "close"}


def _too_long(limits: Limits, got: str) -> RequestError:
    return RequestError(
        413, f"expected a body of at most {limits.max_body:,} bytes; got {got[:20]}; send it in parts", CLOSE
    )
