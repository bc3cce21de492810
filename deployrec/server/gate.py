"""In front of every route: request ids, the bearer token, problems, counts and the log; the way to the busy ones."""

from __future__ import annotations

import hmac
import json
import logging
import re
import time
from collections.abc import Sequence
from itertools import count
from secrets import token_hex
from typing import Any

from prometheus_client import Counter, Histogram
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployrec.server.metrics import Metrics
from deployrec.server.openapi import Handler
from deployrec.server.problems import RequestError, problem_of, respond

log = logging.getLogger("deployrec.server")
OPEN = ("/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json")
"""What is answered without the token: probes and the description."""
REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class Gate:
    """The whole server as one ASGI app. The path of a request reaches the routes as it was sent, still percent-encoded:
    an id may hold a slash.

    app: answers all requests; busy: routes of it, with their handlers, that the gate asks by itself. They carry the
    load, and Starlette's way there takes as long as they do.
    """

    def __init__(
        self,
        app: ASGIApp,
        busy: Sequence[tuple[Route, Handler]],
        metrics: Metrics,
        token: bytes | None,
        log_requests: bool,
    ) -> None:
        self.app, self.busy, self.metrics, self.log_requests = app, busy, metrics, log_requests
        self._process, self._numbers = token_hex(6), count()
        self._counts: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self.expected = None if token is None else b"Bearer " + token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if REQUEST_ID.fullmatch(given) else f"{self._process}-{next(self._numbers):x}"
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
            await send(message)

        scope["path"] = scope["raw_path"].decode("latin-1")
        scope["headers_by_name"] = headers
        said = "answered"
        try:
            self._check_token(scope["path"], headers)
            handler = self._busy_handler(scope)
            if handler is None:
                await self.app(scope, receive, answer)
            else:
                response = await handler(Request(scope, receive))
                status = response.status_code
                response.raw_headers.append((b"x-request-id", request_id.encode()))
                await send({"type": "http.response.start", "status": status, "headers": response.raw_headers})
                await send({"type": "http.response.body", "body": response.body})
        except Exception as error:
            if status:  # half an answer is out: ending the connection is all that tells
                raise
            said = str(error)
            response = _problem(error, request_id)
            error.__traceback__ = None  # its frames hold the request, and each other until they are collected
            await response(scope, receive, answer)
        seconds = time.perf_counter() - start
        route = getattr(scope.get("route"), "path", "other")
        requests, latency = self._counts.get((route, status)) or self._counts_of(route, status)
        requests.inc()
        latency.observe(seconds)
        if self.log_requests or status >= 400:
            about = {"request_id": request_id, "method": scope["method"], "path": scope["path"], "status": status}
            log.info(said, extra={**about, "milliseconds": round(1e3 * seconds, 3)})

    def _busy_handler(self, scope: Scope) -> Handler | None:
        for route, handler in self.busy:
            found = route.path_regex.match(scope["path"])
            if found and scope["method"] in (route.methods or ()):
                scope["route"], scope["path_params"] = route, found.groupdict()
                return handler
        return None

    def _counts_of(self, route: str, status: int) -> tuple[Counter, Histogram]:
        """Looked up once: that takes longer than counting."""
        found = self.metrics.requests.labels(route, status), self.metrics.latency.labels(route)
        self._counts[route, status] = found
        return found

    def _check_token(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self.expected is None or path in OPEN:
            return
        if not hmac.compare_digest(headers.get(b"authorization", b""), self.expected):
            raise RequestError(
                401,
                "expected the header 'Authorization: Bearer TOKEN' with this server's token; got another or none; "
                "ask who runs the server",
                {"WWW-Authenticate": "Bearer"},
            )


def _problem(error: Exception, request_id: str) -> Response:
    """In a function of its own: a frame that an error passed and that names it would live on until it is collected."""
    problem = problem_of(error)
    if problem.status == 500:
        log.error("error of the server", exc_info=error, extra={"request_id": request_id})
    return respond(problem, request_id)


class JsonLines(logging.Formatter):
    """A log record as one JSON object a line: time, level, message, and what `extra` holds."""

    PLAIN = frozenset(vars(logging.makeLogRecord({})))

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": record.created,
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in self.PLAIN}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
