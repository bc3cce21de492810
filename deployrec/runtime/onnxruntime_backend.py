"""Runs a bundle's graphs through ONNX Runtime, with buffers bound once for requests of one user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from deployrec.errors import BundleError, ConfigError, UnknownItemError
from deployrec.runtime.backend import Output, State
from deployrec.runtime.bundle import Bundle
from deployrec.runtime.files import first_line
from deployrec.runtime.manifest import Manifest
from deployrec.runtime.providers import onnxruntime_providers


def load(bundle: Bundle, threads: int = 1, device: str = "cpu") -> OnnxRuntimeBackend:
    """Opens the sessions of all graphs; one thread is fastest for single requests on small catalogues.

    device: "cpu" or "cuda". Raises ConfigError for a device that cannot be used, BundleError for a broken graph.
    """
    return OnnxRuntimeBackend(bundle, threads, device)


class OnnxRuntimeBackend:
    """See `Backend`. A call with one row runs on bound buffers: its answer lives until the next such call."""

    def __init__(self, bundle: Bundle, threads: int, device: str) -> None:
        self.manifest = bundle.manifest
        providers = onnxruntime_providers(device)
        self.sessions = {
            name: _session(bundle.file(graph.file), threads, providers) for name, graph in self.manifest.graphs.items()
        }
        self.bound = {
            name: BoundGraph(session, self.manifest) for name, session in self.sessions.items() if name != "encode"
        }

    def step(self, items: np.ndarray, exclude: np.ndarray, state: State) -> Output:
        self._check(items)
        self._check(exclude)
        feed = {"item_id": items, "exclude_items": exclude}
        feed.update((tensor.past, state[tensor.name]) for tensor in self.manifest.state.tensors)
        return self._output(self._run("step", feed))

    def encode(self, items: np.ndarray, lengths: np.ndarray, exclude: np.ndarray, state: State) -> Output:
        self._check(items)
        self._check(exclude)
        feed = {"item_ids": items, "lengths": lengths, "exclude_items": exclude}
        feed.update((tensor.past, state[tensor.name]) for tensor in self.manifest.state.tensors)
        return self._output(self._run("encode", feed))

    def score(self, user: np.ndarray, exclude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._check(exclude)
        found = self._run("score", {"user": user, "exclude_items": exclude})
        return found["topk_items"], found["topk_scores"]

    def _run(self, graph: str, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        bound = self.bound.get(graph)
        if bound and len(feed["exclude_items"]) == 1 and feed["exclude_items"].shape[1] <= bound.width:
            return bound.run(feed)
        names = [tensor.name for tensor in self.manifest.graphs[graph].outputs]
        return dict(zip(names, self.sessions[graph].run(names, feed), strict=True))

    def _output(self, found: dict[str, np.ndarray]) -> Output:
        state = {tensor.name: found[tensor.present] for tensor in self.manifest.state.tensors}
        return Output(found["topk_items"], found["topk_scores"], found["user"], state)

    def _check(self, rows: np.ndarray) -> None:
        # Seen as unsigned, a negative row is a huge one: one pass finds both ends.
        if rows.size and rows.view(np.uint64).max() > self.manifest.num_items:
            wrong = rows[(rows < 0) | (rows > self.manifest.num_items)].flat[0]
            raise UnknownItemError(
                f"expected item rows from 0 to {self.manifest.num_items}; got {wrong}; "
                "take rows from this bundle's items.csv"
            )


class BoundGraph:
    """One graph with fixed buffers for one user: binding once saves about 10 us a call against `run`."""

    def __init__(self, session: onnxruntime.InferenceSession, manifest: Manifest) -> None:
        self.width = manifest.max_exclude
        self.binding = session.io_binding()
        self.inputs = {tensor.name: _buffer(tensor, self.width) for tensor in session.get_inputs()}
        self.outputs = {tensor.name: _buffer(tensor, self.width) for tensor in session.get_outputs()}
        self.values = []
        for bind, buffers in (
            (self.binding.bind_ortvalue_input, self.inputs),
            (self.binding.bind_ortvalue_output, self.outputs),
        ):
            for name, buffer in buffers.items():
                value = onnxruntime.OrtValue.ortvalue_from_numpy(buffer)
                bind(name, value)
                self.values.append(value)
        self.session = session
        self.exclude = self.inputs.pop("exclude_items")

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answers in the bound buffers themselves."""
        exclude = feed["exclude_items"]
        used = exclude.shape[1]
        self.exclude[:, :used] = exclude
        self.exclude[:, used:] = 0
        for name, buffer in self.inputs.items():
            buffer[...] = feed[name]
        self.session.run_with_iobinding(self.binding)
        return self.outputs


def _session(path: Path, threads: int, providers: list[str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime raises its own types, which share no base but Exception
        got = first_line(error)
        raise BundleError(f"expected an ONNX graph in {path}; got {got}; export the bundle again") from None
    if session.get_providers()[0] != providers[0]:
        raise ConfigError(f"expected {providers[0]} to load; got {session.get_providers()[0]}; use device 'cpu'")
    return session


def _buffer(tensor: Any, width: int) -> np.ndarray:
    """Zeros for one user; the only symbolic axis but the batch is that of the excluded items."""
    batch, *rest = tensor.shape
    shape = [batch if isinstance(batch, int) else 1, *(axis if isinstance(axis, int) else width for axis in rest)]
    return np.zeros(shape, np.int64 if tensor.type == "tensor(int64)" else np.float32)
