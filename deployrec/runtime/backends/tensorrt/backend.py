"""Runs a bundle's TensorRT plans, which `deployrec build engine` added to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.graph import Graph
from deployrec.errors import BundleError, ConfigError
from deployrec.runtime.backends.base import NOTHING, Moved, State, TopK, check_k, check_rows, check_timeless
from deployrec.runtime.backends.tensorrt.api import import_tensorrt, load_plugins, make_logger
from deployrec.runtime.backends.tensorrt.cuda_memory import CudaStream, DeviceBuffer
from deployrec.runtime.backends.tensorrt.plan_name import PlanName

PLAN, RECORD = "engine/{}.plan", "engine/build.json"


def load(bundle: Bundle, plugin: str | Path | None = None) -> TensorRtBackend:
    """Loads every plan of the bundle onto the first GPU.

    plugin: path of libdeployrec_plugin.so; None: the one that DEPLOYREC_PLUGIN_LIBRARY names. Plans that carry the
    library (`build engine --carry-plugin`) need none.
    Raises BundleError for a bundle without plans or with plans of another bundle, ConfigError where TensorRT, a GPU or
    the plugin library is missing, or TensorRT refuses a plan (another version, another kind of GPU).
    """
    check_timeless(bundle, "the backend tensorrt")
    absent = [name for name in bundle.manifest.graphs if PLAN.format(name) not in bundle.manifest.files]
    if absent:
        raise BundleError(
            f"expected TensorRT plans in {bundle.path}; got none of {absent[0]}; "
            f"run `deployrec build engine {bundle.path}`"
        )
    trt = import_tensorrt()
    stream = CudaStream()
    if not carries_plugin(bundle):
        load_plugins(trt, plugin)
    return TensorRtBackend(trt, stream, bundle)


def carries_plugin(bundle: Bundle) -> bool:
    """Whether the bundle's encode plan holds the plugin library."""
    return RECORD in bundle.manifest.files and bool(json.loads(bundle.read(RECORD)).get("carries_plugin"))


class TensorRtBackend:
    """See `Backend`. Batches, histories and lists beyond the plans' profile raise ConfigError."""

    def __init__(self, trt: Any, stream: CudaStream, bundle: Bundle) -> None:
        self.manifest = bundle.manifest
        self.stream = stream
        self.log = make_logger(trt)
        self.runtime = trt.Runtime(self.log)
        self.runtime.engine_host_code_allowed = carries_plugin(bundle)
        self.plans = {name: _Plan(trt, self.runtime, self.log, stream, bundle, name) for name in bundle.manifest.graphs}

    def advance(self, rows: np.ndarray, state: State) -> Moved:
        check_rows(self.manifest.num_items, rows)
        return self._moved(self.plans["advance"].run({"item_id": rows, **self._past(state)}))

    def step(self, rows: np.ndarray, exclude: np.ndarray | None, k: int, state: State) -> tuple[Moved, TopK]:
        check_rows(self.manifest.num_items, rows)
        request = self._request(len(rows), exclude, k)
        found = self.plans["step"].run({"item_id": rows, **request, **self._past(state)})
        return self._moved(found), TopK(found["topk_items"], found["topk_scores"])

    def encode(self, rows: np.ndarray, lengths: np.ndarray, state: State) -> Moved:
        check_rows(self.manifest.num_items, rows)
        return self._moved(self.plans["encode"].run({"item_ids": rows, "lengths": lengths, **self._past(state)}))

    def score(self, user: np.ndarray, exclude: np.ndarray | None, k: int) -> TopK:
        found = self.plans["score"].run({"user": user, **self._request(len(user), exclude, k)})
        return TopK(found["topk_items"], found["topk_scores"])

    def _request(self, batch: int, exclude: np.ndarray | None, k: int) -> dict[str, np.ndarray]:
        exclude = NOTHING.repeat(batch, 0) if exclude is None else exclude
        check_rows(self.manifest.num_items, exclude)
        check_k(self.manifest.num_items, k)
        return {"exclude_items": exclude.astype(np.int64, copy=False), "k": np.array([k])}

    def _past(self, state: State) -> dict[str, np.ndarray]:
        return {tensor.past: state[tensor.name] for tensor in self.manifest.state.tensors}

    def _moved(self, found: dict[str, np.ndarray]) -> Moved:
        return Moved(found["user"], {tensor.name: found[tensor.present] for tensor in self.manifest.state.tensors})


def profile_of(batch: int) -> int:
    """The optimization profile of a plan for so many users: 1 is tuned for a single one, 0 takes any number."""
    return int(batch == 1)


class _Plan:
    """One plan, its contexts, and device buffers that grow to the largest call seen."""

    def __init__(self, trt: Any, runtime: Any, log: Any, stream: CudaStream, bundle: Bundle, name: str) -> None:
        self.name, self.stream, self.log = name, stream, log
        self.signature: Graph = bundle.manifest.graphs[name]
        path = bundle.file(PLAN.format(name))
        self.engine = runtime.deserialize_cuda_engine(bundle.read(PLAN.format(name)))
        if self.engine is None:
            raise ConfigError(
                f"expected TensorRT {trt.__version__} to load {path}; got {log.take()}; build it here again"
            )
        names = [tensor.name for tensor in self.signature.inputs]
        self.most = int(self.engine.get_tensor_profile_values(0, "k")[2][0]) if "k" in names else 0
        if self.engine.name != str(PlanName.of(bundle.manifest, name, self.most)):
            raise BundleError(f"expected {path} to be this bundle's {name} plan; got another; build it again")
        self.contexts: dict[int, Any] = {}
        """by profile: a change of a context's own would cost more than a small run"""
        self.buffers: dict[str, DeviceBuffer] = {}
        self.largest = {n: tuple(self.engine.get_tensor_profile_shape(n, 0)[2]) for n in names if n != "k"}
        self.k = np.zeros(1, np.int64)

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.stream.select()
        inputs = {name: np.ascontiguousarray(value) for name, value in feed.items()}
        (batch,) = {len(value) for name, value in inputs.items() if name != "k"}
        context = self._context(profile_of(batch))
        if "k" in inputs:
            self._set_k(context, int(inputs.pop("k")[0]))
        for name, value in inputs.items():
            self._check_profile(name, value.shape)
            context.set_input_shape(name, value.shape)
            self.stream.upload(self._buffer(name, value.nbytes), value)
        types = {"int64": np.int64, "float32": np.float32}
        outputs = {
            tensor.name: np.empty(tuple(context.get_tensor_shape(tensor.name)), types[tensor.dtype])
            for tensor in self.signature.outputs
        }
        for name, value in outputs.items():
            self._buffer(name, value.nbytes)
        for name in (*inputs, *outputs):
            context.set_tensor_address(name, self.buffers[name].address)
        if not context.execute_async_v3(self.stream.handle):
            raise ConfigError(
                f"expected TensorRT to run the {self.name} plan; got {self.log.take()}; build it again here"
            )
        for name, value in outputs.items():
            self.stream.download(value, self.buffers[name])
        self.stream.wait()
        return outputs

    def _buffer(self, name: str, size: int) -> DeviceBuffer:
        if name not in self.buffers or self.buffers[name].size < size:
            self.buffers[name] = self.stream.allocate(size)
        return self.buffers[name]

    def _context(self, profile: int) -> Any:
        if profile not in self.contexts:
            context = self.contexts[profile] = self.engine.create_execution_context()
            context.set_optimization_profile_async(profile, self.stream.handle)
        return self.contexts[profile]

    def _set_k(self, context: Any, k: int) -> None:
        """TensorRT reads k, which decides a shape, from the host's memory."""
        if k > self.most:
            raise ConfigError(
                f"expected k of at most {self.most} for the {self.name} plan; got {k}; "
                "run `deployrec build engine` with a larger --max-k"
            )
        self.k[0] = k
        context.set_input_shape("k", self.k.shape)
        context.set_tensor_address("k", self.k.ctypes.data)

    def _check_profile(self, name: str, shape: tuple[int, ...]) -> None:
        largest = self.largest[name]
        if any(size > most for size, most in zip(shape, largest, strict=True)):
            raise ConfigError(
                f"expected {name} of at most {list(largest)} for the {self.name} plan; got {list(shape)}; "
                "run `deployrec build engine` with a larger --max-batch or --max-history"
            )
