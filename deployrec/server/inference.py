"""Open Inference Protocol v2 (KServe, Triton): a bundle's graphs as stateless models; the caller holds the state."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from deployrec.bundle.time_facts import ELAPSED
from deployrec.runtime import Recommender
from deployrec.runtime.backends.base import Moved, TopK
from deployrec.server import reading, tensors
from deployrec.server.bodies import Bodies
from deployrec.server.bundles import Bundles
from deployrec.server.problems import RequestError
from deployrec.server.served import Call, Served
from deployrec.server.tensors import Arrays
from deployrec.version import __version__

VERSION = "1"
"""The one version of every model; which bundle it is stands in the metadata."""


class Inference:
    """Handlers of /v2."""

    def __init__(self, bundles: Bundles, bodies: Bodies) -> None:
        self.bundles, self.limits, self.bodies = bundles, bundles.settings.limits, bodies

    async def server(self, request: Request) -> Response:
        """Name, version and extensions of the server."""
        return _json({"name": "deployrec", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def model(self, request: Request) -> Response:
        """What a graph takes and gives."""
        served, name = self._of(request)
        graph = served.recommender.manifest.graphs[name]
        about = {"name": name, "versions": [VERSION], "platform": "deployrec", "bundle_id": served.bundle_id}
        return _json({**about, "inputs": tensors.metadata(graph.inputs), "outputs": tensors.metadata(graph.outputs)})

    async def ready(self, request: Request) -> Response:
        """A graph answers."""
        self._of(request)
        return Response()

    async def infer(self, request: Request) -> Response:
        """Run a graph once on tensors of the request, as JSON or binary; nothing is read or written of any user."""
        content = await self.bodies.whole(request)
        served, name = self._of(request)
        header_length = request.headers.get(tensors.HEADER_LENGTH)
        asked, arrays = tensors.parse(content, header_length, served.recommender.manifest.graphs[name].inputs)
        self._check_sizes(arrays, served.max_k)

        def run(recommender: Recommender) -> Arrays:
            return _run(recommender, name, arrays)

        found = await served.ask(max(map(len, arrays.values())), Call(run))
        body, headers = tensors.render(asked, name, VERSION, found)
        return Response(body, headers=headers)

    def _of(self, request: Request) -> tuple[Served, str]:
        served, name = self.bundles.now().main, request.path_params["model"]
        models = served.recommender.manifest.graphs
        if name not in models or request.path_params.get("version", VERSION) != VERSION:
            raise RequestError(
                404, f"expected a model ({', '.join(models)}) of version {VERSION}; got another; check the path"
            )
        return served, name

    def _check_sizes(self, arrays: Arrays, max_k: int) -> None:
        if "k" in arrays:
            reading.check_k(int(arrays["k"][0]), max_k)
        reading.check_number(max(len(array) for array in arrays.values()), self.limits.max_events, "users")
        if "lengths" in arrays:
            most, lengths = arrays["item_ids"].shape[1], arrays["lengths"]
            reading.check_number(most, self.limits.max_history, "events of a history")
            if lengths.min() < 0 or lengths.max() > most:
                raise RequestError(400, f"expected lengths from 0 to {most}; got others; mend them")


def _run(recommender: Recommender, name: str, arrays: Arrays) -> Arrays:
    """Copies of what a graph gives, by the names of its outputs."""
    backend, spec = recommender.backend, recommender.manifest.state.tensors
    state = {tensor.name: arrays[tensor.past] for tensor in spec if tensor.past in arrays}
    told = [arrays[ELAPSED]] if ELAPSED in arrays else []
    moved: Moved | None = None
    best: TopK | None = None
    if name == "step":
        moved, best = backend.step(arrays["item_id"], arrays["exclude_items"], int(arrays["k"][0]), state, *told)
    elif name == "advance":
        moved = backend.advance(arrays["item_id"], state)
    elif name == "encode":
        moved = backend.encode(arrays["item_ids"], arrays["lengths"], state)
    elif name == "moment":
        return {"user_now": np.array(backend.moment(arrays["user"], *told))}
    else:
        best = backend.score(arrays["user"], arrays["exclude_items"], int(arrays["k"][0]), *told)
    found: dict[str, Any] = {}
    if best is not None:
        found |= {"topk_items": best.items, "topk_scores": best.scores}
    if moved is not None:
        found |= {"user": moved.user, **{tensor.present: moved.state[tensor.name] for tensor in spec}}
    return {name: np.array(array) for name, array in found.items()}


def _json(answer: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
