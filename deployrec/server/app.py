"""The ASGI app: all routes, in front of them the gate, behind them the bundles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployrec.server import openapi
from deployrec.server.bodies import Bodies
from deployrec.server.bundles import Bundles
from deployrec.server.gate import Gate
from deployrec.server.inference import Inference
from deployrec.server.metrics import Metrics
from deployrec.server.problems import RequestError
from deployrec.server.routes import Routes
from deployrec.server.settings import Settings

BUSY: Sequence[openapi.Operation] = (
    ("POST", "/v1/events"),
    ("POST", "/v1/recommendations"),
    ("GET", "/v1/users/{user:path}/recommendations"),
)
"""What carries the load of a server."""


def create_app(settings: Settings) -> Gate:
    """The app of one process, for any ASGI server. Raises ConfigError for settings that cannot be served.

    Bundles load once the app's lifespan has begun; until the first is ready, requests get 503. When it ends, all that
    waits is answered and the stores are closed.
    """
    settings.check()
    metrics = Metrics()
    bundles = Bundles(settings, metrics)
    bodies = Bodies(settings.limits)
    routes, inference = Routes(bundles, bodies), Inference(bundles, bodies)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        following = asyncio.create_task(bundles.follow())
        yield
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await bundles.close()

    async def live(request: Request) -> Response:
        """The process answers."""
        return Response()

    async def ready(request: Request) -> Response:
        """A bundle is loaded, and has answered its certificate's first case on this machine."""
        bundles.now()
        return Response()

    async def measured(request: Request) -> Response:
        """What Prometheus reads."""
        arms = bundles.arms
        metrics.waiting.set(sum(arm.batcher.size for arm in arms[:2] if arm) if arms else 0)
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    paths: dict[openapi.Operation, openapi.Handler] = {
        ("POST", "/v1/events"): routes.events,
        ("GET", "/v2/health/live"): live,
        ("GET", "/v2/health/ready"): ready,
        ("GET", "/v1/users/{user:path}/recommendations"): routes.of_user,
        ("POST", "/v1/recommendations"): routes.recommendations,
        ("GET", "/v1/users/{user:path}"): routes.record,
        ("DELETE", "/v1/users/{user:path}"): routes.forget,
        ("GET", "/metrics"): measured,
        ("GET", "/v2"): inference.server,
    }
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        paths["GET", model] = inference.model
        paths["GET", f"{model}/ready"] = inference.ready
        paths["POST", f"{model}/infer"] = inference.infer
    described = openapi.document({route: handler.__doc__ or "" for route, handler in paths.items()})
    paths |= openapi.pages(described)
    kinds = (HTTPException, RequestError, Exception)
    app = Starlette(routes=_routes(paths), exception_handlers=dict.fromkeys(kinds, _raised), lifespan=lifespan)
    busy = [(_route(path, {method: paths[method, path]}), paths[method, path]) for method, path in BUSY]
    return Gate(app, busy, metrics, settings.token(), settings.log_requests)


def _routes(paths: Mapping[openapi.Operation, openapi.Handler]) -> list[Route]:
    """One route a path, so that a 405 names all its methods."""
    by_path: dict[str, dict[str, openapi.Handler]] = {}
    for (method, path), handler in paths.items():
        by_path.setdefault(path, {})[method] = handler
    return [_route(path, own) for path, own in by_path.items()]


def _route(path: str, handlers: Mapping[str, openapi.Handler]) -> Route:
    handler = next(iter(handlers.values())) if len(handlers) == 1 else _either(handlers)
    return Route(path, handler, methods=list(handlers))


def _either(handlers: Mapping[str, openapi.Handler]) -> openapi.Handler:
    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return handle


async def _raised(request: Request, error: Exception) -> Response:
    raise error  # the gate answers
