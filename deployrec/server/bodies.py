"""Bodies of requests: whole, within the limits and in time, or a problem."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.types import Receive

from deployrec.runtime.events import shown
from deployrec.server.deadlines import Deadlines
from deployrec.server.problems import RequestError
from deployrec.server.settings import Limits

Body = TypeVar("Body")
JSON_KINDS = (b"application/json", b"application/x-www-form-urlencoded")
"""The second is what `curl -d` says where it is told nothing else."""
CLOSE = {"Connection": "close"}


class Bodies:
    """Reads them for the handlers of one app."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._deadlines = Deadlines(limits.body_seconds)

    async def whole(self, request: Request) -> bytes:
        """The bytes; raises 413 for more than are allowed, 408 for a body that does not come."""
        headers = request.scope["headers_by_name"]
        declared = headers.get(b"content-length")
        if declared is not None and (not declared.isdigit() or int(declared) > self.limits.max_body):
            raise self._too_long(shown(declared.decode("latin-1")[:20]))
        if b"content-encoding" in headers and headers[b"content-encoding"] != b"identity":
            raise RequestError(415, "expected a body without Content-Encoding; got a compressed one; send it as it is")
        try:
            return await self._deadlines.wait(self._received(request.receive))
        except TimeoutError:
            seconds = self.limits.body_seconds
            raise RequestError(
                408, f"expected the body within {seconds:g} seconds; got a part; send it again", CLOSE
            ) from None

    async def read(self, request: Request, decoder: msgspec.json.Decoder[Body]) -> Body:
        """The body as JSON of the decoder's type; raises 400 for anything else."""
        kind = request.scope["headers_by_name"].get(b"content-type", b"application/json").lower()
        if not kind.startswith(JSON_KINDS):
            raise RequestError(415, "expected Content-Type: application/json; got another; send JSON")
        return decoded(await self.whole(request), decoder)

    async def _received(self, receive: Receive) -> bytes:
        message = await receive()
        content = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body"):  # most bodies come in one piece
            if len(content) > self.limits.max_body:
                raise self._too_long("more")
            return bytes(content)
        parts, size = [content], len(content)
        while message["type"] == "http.request" and message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.limits.max_body:
                raise self._too_long("more")
        if message["type"] != "http.request":
            raise RequestError(400, "expected a whole body; got the connection's end; send it again")
        return b"".join(parts)

    def _too_long(self, got: str) -> RequestError:
        most = self.limits.max_body
        return RequestError(413, f"expected a body of at most {most:,} bytes; got {got[:20]}; send it in parts", CLOSE)


def decoded(content: bytes, decoder: msgspec.json.Decoder[Body]) -> Body:
    """JSON of the decoder's type; raises 400 for anything else."""
    try:
        return decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(
            400, f"expected JSON as /docs describes it; got {' '.join(str(error).split())}; mend it"
        ) from None
