"""Errors as problem+json (RFC 9457), with the library's own line as the detail."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from deployrec.errors import DeployrecError, StaleStateError, StoreError
from deployrec.runtime.stores.base import ConflictError

MEDIA_TYPE = "application/problem+json"
OURS = (StoreError, StaleStateError, ConflictError)
"""What the caller cannot mend; another try may do."""


class ProblemDetails(msgspec.Struct, kw_only=True):
    """The body of an answer that is none; `detail` says what was expected, what came and what to do."""

    title: str
    status: int
    detail: str
    request_id: str


class RequestError(Exception):
    """An answer of this status, whose detail is `line`."""

    def __init__(self, status: int, line: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(line)
        self.status, self.headers = status, dict(headers or {})


def problem_of(error: Exception) -> RequestError:
    """What an exception of a handler is to its caller."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, OURS):
        return RequestError(503, str(error), {"Retry-After": "1"})
    if isinstance(error, DeployrecError):
        return RequestError(400, str(error))
    if isinstance(error, HTTPException):
        return RequestError(error.status_code, _http_line(error), error.headers)
    return RequestError(500, "expected an answer; got an error of the server; its log has the request id")


def respond(problem: RequestError, request_id: str) -> Response:
    details = ProblemDetails(
        title=HTTPStatus(problem.status).phrase, status=problem.status, detail=str(problem), request_id=request_id
    )
    return Response(msgspec.json.encode(details), problem.status, problem.headers, MEDIA_TYPE)


def _http_line(error: HTTPException) -> str:
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "others")
        return f"expected the method {allowed}; got another; see /docs"
    return f"expected a route of /docs; got none ({error.detail}); check the path"
