"""Runs a bundle's graphs through ONNX Runtime, with buffers bound once for requests of one user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import Graph, Manifest
from deployrec.errors import BundleError, ConfigError, UnknownItemError
from deployrec.files import first_line
from deployrec.runtime.backends.base import Output, State
from deployrec.runtime.backends.onnxruntime.providers import Provider, onnxruntime_providers

OUTPUTS = ("topk_items", "topk_scores", "user")
LARGE_TABLE = 32 * 2**20
"""Bytes of an item table from which on the sessions read items.bin in place: packing weights for the CPU would hold a
copy in each of the three sessions (775 MB for a million items of 64) and is slower for one user at that size."""


def load(bundle: Bundle, threads: int = 1, device: str = "cpu") -> OnnxRuntimeBackend:
    """Opens the sessions of all graphs; one thread is fastest for single requests on small catalogues.

    device: "cpu" or "cuda". Raises ConfigError for a device that cannot be used, BundleError for a broken graph.
    """
    return OnnxRuntimeBackend(bundle, threads, device)


class OnnxRuntimeBackend:
    """See `Backend`. A call with one row runs on bound buffers: its answer lives until the next such call."""

    def __init__(self, bundle: Bundle, threads: int, device: str) -> None:
        self.manifest = bundle.manifest
        self.num_items = bundle.manifest.num_items
        providers = onnxruntime_providers(device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if 4 * self.num_items * bundle.manifest.dim >= LARGE_TABLE:
            options.add_session_config_entry("session.disable_prepacking", "1")
        self.sessions = {
            name: _session(bundle.file(graph.file), graph, options, providers)
            for name, graph in self.manifest.graphs.items()
        }
        bound = {name: BoundGraph(self.sessions[name], self.manifest) for name in self.sessions if name != "encode"}
        self.bound_step, self.bound_score = bound.get("step"), bound["score"]

    def step(self, items: np.ndarray, exclude: np.ndarray, state: State) -> Output:
        self._check(items)
        self._check(exclude)
        if self.bound_step and len(items) == 1 and exclude.shape[1] <= self.bound_step.width:
            return self.bound_step.run(items, exclude, state)
        return self._run("step", {"item_id": items, "exclude_items": exclude}, state)

    def encode(self, items: np.ndarray, lengths: np.ndarray, exclude: np.ndarray, state: State) -> Output:
        self._check(items)
        self._check(exclude)
        return self._run("encode", {"item_ids": items, "lengths": lengths, "exclude_items": exclude}, state)

    def score(self, user: np.ndarray, exclude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._check(exclude)
        if len(user) == 1 and exclude.shape[1] <= self.bound_score.width:
            found = self.bound_score.run(user, exclude, {})
            return found.topk_items, found.topk_scores
        items, scores = self.sessions["score"].run(OUTPUTS[:2], {"user": user, "exclude_items": exclude})
        return items, scores

    def _run(self, graph: str, feed: dict[str, np.ndarray], state: State) -> Output:
        tensors = self.manifest.state.tensors
        feed.update((tensor.past, state[tensor.name]) for tensor in tensors)
        items, scores, user, *present = self.sessions[graph].run([*OUTPUTS, *(t.present for t in tensors)], feed)
        return Output(items, scores, user, {tensor.name: value for tensor, value in zip(tensors, present, strict=True)})

    def _check(self, rows: np.ndarray) -> None:
        if rows.size == 1 and 0 <= rows.item() <= self.num_items:
            return
        # Seen as unsigned, a negative row is a huge one: one pass finds both ends.
        if rows.size and rows.view(np.uint64).max() > self.num_items:
            wrong = rows[(rows < 0) | (rows > self.manifest.num_items)].flat[0]
            raise UnknownItemError(
                f"expected item rows from 0 to {self.manifest.num_items}; got {wrong}; "
                "take rows from this bundle's items.csv"
            )


class BoundGraph:
    """One graph with fixed buffers for one user: binding once saves about 10 us a call against `run`."""

    def __init__(self, session: onnxruntime.InferenceSession, manifest: Manifest) -> None:
        self.session = session
        self.width = manifest.max_exclude
        self.used = 0
        self.binding = session.io_binding()
        inputs = {tensor.name: _buffer(tensor, self.width) for tensor in session.get_inputs()}
        outputs = {tensor.name: _buffer(tensor, self.width) for tensor in session.get_outputs()}
        self.values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(b) for name, b in (inputs | outputs).items()}
        for name in inputs:
            self.binding.bind_ortvalue_input(name, self.values[name])
        for name in outputs:
            self.binding.bind_ortvalue_output(name, self.values[name])
        tensors = manifest.state.tensors
        self.exclude = inputs.pop("exclude_items")
        self.past = [(inputs.pop(tensor.past), tensor.name) for tensor in tensors if tensor.past in inputs]
        (self.first,) = inputs.values()
        present = {tensor.name: outputs[tensor.present] for tensor in tensors if tensor.present in outputs}
        # score.onnx returns no user vector: the answer then names the one it was given.
        user = outputs.get("user", self.first)
        self.answer = Output(outputs["topk_items"], outputs["topk_scores"], user, present)

    def run(self, first: np.ndarray, exclude: np.ndarray, state: State) -> Output:
        """`first` is the item [1] or user vector [1, D]; the answer lies in the bound buffers themselves."""
        self.first[...] = first
        for buffer, name in self.past:
            buffer[...] = state[name]
        used = exclude.shape[1]
        self.exclude[:, :used] = exclude
        if used < self.used:
            self.exclude[:, used : self.used] = 0
        self.used = used
        self.session.run_with_iobinding(self.binding)
        return self.answer


def _session(
    path: Path, graph: Graph, options: onnxruntime.SessionOptions, providers: list[Provider]
) -> onnxruntime.InferenceSession:
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime raises its own types, which share no base but Exception
        got = first_line(error)
        raise BundleError(f"expected an ONNX graph in {path}; got {got}; export the bundle again") from None
    if session.get_providers()[0] != providers[0]:
        raise ConfigError(f"expected {providers[0]} to load; got {session.get_providers()[0]}; use device 'cpu'")
    for side, described in ((session.get_inputs(), graph.inputs), (session.get_outputs(), graph.outputs)):
        names, expected = [tensor.name for tensor in side], [tensor.name for tensor in described]
        if sorted(names) != sorted(expected):
            raise BundleError(
                f"expected {', '.join(expected)} in {path}; got {', '.join(names)}; export the bundle again"
            )
    return session


def _buffer(tensor: Any, width: int) -> np.ndarray:
    """Zeros for one user; the only symbolic axis but the batch is that of the excluded items."""
    batch, *rest = tensor.shape
    shape = [batch if isinstance(batch, int) else 1, *(axis if isinstance(axis, int) else width for axis in rest)]
    return np.zeros(shape, np.int64 if tensor.type == "tensor(int64)" else np.float32)
