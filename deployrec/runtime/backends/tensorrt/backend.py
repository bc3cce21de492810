"""Runs a bundle's TensorRT plans, which `deployrec build engine` added to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import Graph, Manifest
from deployrec.errors import BundleError, ConfigError
from deployrec.runtime.backends.base import NOTHING, Output, State, check_rows
from deployrec.runtime.backends.tensorrt.api import import_tensorrt, load_plugins, make_logger
from deployrec.runtime.backends.tensorrt.cuda_memory import CudaStream, DeviceBuffer

PLAN = "engine/{}.plan"


def plan_name(manifest: Manifest) -> str:
    """The name of a plan's network: of which bundle and states it is, its item rows, and up to how many events a state
    is exact (0: any number). What the C++ engines know of a bundle stands here; see plan_name.h."""
    window = manifest.state.exact_up_to or 0
    return f"deployrec 1 {manifest.bundle_id} {manifest.state_id} {manifest.num_items} {window}"


def load(bundle: Bundle, plugin: str | Path | None = None) -> TensorRtBackend:
    """Loads every plan of the bundle onto the first GPU.

    plugin: path of libdeployrec_plugin.so; None: the one that DEPLOYREC_PLUGIN_LIBRARY names.
    Raises BundleError for a bundle without plans or with plans of another bundle, ConfigError where TensorRT, a GPU or
    the plugin library is missing, or TensorRT refuses a plan (another version, another kind of GPU).
    """
    absent = [name for name in bundle.manifest.graphs if PLAN.format(name) not in bundle.manifest.files]
    if absent:
        raise BundleError(
            f"expected TensorRT plans in {bundle.path}; got none of {absent[0]}; "
            f"run `deployrec build engine {bundle.path}`"
        )
    trt = import_tensorrt()
    stream = CudaStream()
    load_plugins(trt, plugin)
    return TensorRtBackend(trt, stream, bundle)


class TensorRtBackend:
    """See `Backend`. Batches and histories beyond the plans' profile raise ConfigError."""

    def __init__(self, trt: Any, stream: CudaStream, bundle: Bundle) -> None:
        self.manifest = bundle.manifest
        self.stream = stream
        self.log = make_logger(trt)
        self.runtime = trt.Runtime(self.log)
        self.plans = {name: _Plan(trt, self.runtime, self.log, stream, bundle, name) for name in bundle.manifest.graphs}

    def step(self, rows: np.ndarray, exclude: np.ndarray | None, state: State) -> Output:
        exclude = NOTHING.repeat(len(rows), 0) if exclude is None else exclude
        check_rows(self.manifest.num_items, rows, exclude)
        return self._output("step", {"item_id": rows}, exclude, state)

    def encode(self, rows: np.ndarray, lengths: np.ndarray, exclude: np.ndarray | None, state: State) -> Output:
        exclude = NOTHING.repeat(len(rows), 0) if exclude is None else exclude
        check_rows(self.manifest.num_items, rows, exclude)
        return self._output("encode", {"item_ids": rows, "lengths": lengths}, exclude, state)

    def score(self, user: np.ndarray, exclude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        check_rows(self.manifest.num_items, exclude)
        found = self.plans["score"].run({"user": user, "exclude_items": exclude.astype(np.int64, copy=False)})
        return found["topk_items"], found["topk_scores"]

    def _output(self, graph: str, feed: dict[str, np.ndarray], exclude: np.ndarray, state: State) -> Output:
        tensors = self.manifest.state.tensors
        feed["exclude_items"] = exclude.astype(np.int64, copy=False)
        feed.update((tensor.past, state[tensor.name]) for tensor in tensors)
        found = self.plans[graph].run(feed)
        present = {tensor.name: found[tensor.present] for tensor in tensors}
        return Output(found["topk_items"], found["topk_scores"], found["user"], present)


class _Plan:
    """One plan, its context, and device buffers that grow to the largest call seen."""

    def __init__(self, trt: Any, runtime: Any, log: Any, stream: CudaStream, bundle: Bundle, name: str) -> None:
        self.name, self.stream, self.log = name, stream, log
        self.signature: Graph = bundle.manifest.graphs[name]
        path = bundle.file(PLAN.format(name))
        self.engine = runtime.deserialize_cuda_engine(bundle.read(PLAN.format(name)))
        if self.engine is None:
            raise ConfigError(
                f"expected TensorRT {trt.__version__} to load {path}; got {log.take()}; build it here again"
            )
        if self.engine.name != plan_name(bundle.manifest):
            raise BundleError(f"expected {path} to be of this bundle; got a plan of another; build it again")
        self.context = self.engine.create_execution_context()
        self.buffers: dict[str, DeviceBuffer] = {}
        largest = {t.name: self.engine.get_tensor_profile_shape(t.name, 0)[2] for t in self.signature.inputs}
        self.largest = {tensor_name: tuple(shape) for tensor_name, shape in largest.items()}

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.stream.select()
        inputs = {name: np.ascontiguousarray(value) for name, value in feed.items()}
        for name, value in inputs.items():
            self._check_profile(name, value.shape)
            self.context.set_input_shape(name, value.shape)
            self.stream.upload(self._buffer(name, value.nbytes), value)
        types = {"int64": np.int64, "float32": np.float32}
        outputs = {
            tensor.name: np.empty(tuple(self.context.get_tensor_shape(tensor.name)), types[tensor.dtype])
            for tensor in self.signature.outputs
        }
        for name, value in outputs.items():
            self._buffer(name, value.nbytes)
        if not self.context.execute_async_v3(self.stream.handle):
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
            self.context.set_tensor_address(name, self.buffers[name].address)
        return self.buffers[name]

    def _check_profile(self, name: str, shape: tuple[int, ...]) -> None:
        largest = self.largest[name]
        if any(size > most for size, most in zip(shape, largest, strict=True)):
            raise ConfigError(
                f"expected {name} of at most {list(largest)} for the {self.name} plan; got {list(shape)}; "
                "run `deployrec build engine` with a larger --max-batch or --max-history"
            )
