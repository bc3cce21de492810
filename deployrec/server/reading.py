"""Reads what requests want, within the limits; all that is wrong is a problem before anything is asked of a bundle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from msgspec import UNSET
from starlette.datastructures import QueryParams
from starlette.requests import Request

from deployrec.runtime.clock import of_text
from deployrec.runtime.events import id_text, shown
from deployrec.runtime.lists import USUAL_K
from deployrec.server.problems import RequestError
from deployrec.server.schemas import Choice, EventsRequest, RecommendationsRequest
from deployrec.server.settings import Limits

SEVERAL = ("exclude", "only")
"""Parameters of a query that may come several times."""
TRUTH = {"true": True, "false": False, "1": True, "0": False}


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


def choice_in(text: bytes, max_k: int, limits: Limits) -> Choice:
    """`choice_of` what a query's text says, in which exclude and only may come several times."""
    query = QueryParams(text)
    exclude, only = (list[str | int](query.getlist(name)) or None for name in SEVERAL)
    unknown = set(query) - {"k", "exclude_seen", "where", "now", *SEVERAL}
    single = [name for name, _ in query.multi_items() if name not in SEVERAL]
    if unknown or len(set(single)) < len(single):
        raise RequestError(
            400,
            "expected k, exclude_seen, where and now once at most, exclude and only; "
            f"got {shown(text.decode('latin-1'))}; "
            "mend the query",
        )
    k, truth = query.get("k"), TRUTH.get(query.get("exclude_seen", "true"))
    if truth is None or (k is not None and not (k.isascii() and k.isdigit() and len(k) < 20)):
        raise RequestError(
            400, f"expected k=10 or exclude_seen=false; got {shown(text.decode('latin-1'))}; mend the query"
        )
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
    ids = list(ids)
    if set(map(type, ids)) == {str} and max(map(len, ids)) <= limits.max_id and "".join(ids).isascii():
        return  # nearly always, and a tenth of the time of looking at each
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


def _named(ids: list[Any] | None, name: str, limits: Limits) -> tuple[Any, ...] | None:
    if ids is None:
        return None
    check_number(len(ids), limits.max_history, f"items in {name}")
    check_ids(ids, limits)
    return tuple(ids)
