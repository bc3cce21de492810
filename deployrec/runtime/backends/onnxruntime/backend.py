"""Runs a bundle's graphs through ONNX Runtime, with buffers bound once for requests of one user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import Manifest
from deployrec.errors import BundleError, ConfigError
from deployrec.files import first_line
from deployrec.runtime.backends.base import NOTHING, Output, State, check_rows
from deployrec.runtime.backends.onnxruntime.providers import Provider, onnxruntime_providers

OUTPUTS = ("topk_items", "topk_scores", "user")
NO_ITEMS, NO_SCORES = np.zeros((0, 0), np.int64), np.zeros((0, 0), np.float32)
NARROWEST = 64
"""Room for excluded items in the first binding of a graph; each further one has four times as much."""
MOST_THREADS = 1024
LARGE_TABLE = 32 * 2**20
"""Bytes of an item table from which on the sessions read it in place: packing weights for the CPU would hold a
copy in each of the three sessions (775 MB for a million items of 64) and is slower for one user at that size."""


def load(bundle: Bundle, threads: int = 1, device: str = "cpu") -> OnnxRuntimeBackend:
    """Opens the sessions of all graphs; one thread is fastest for single requests on small catalogues.

    threads: 0 for as many as there are cores; device: "cpu" or "cuda". Raises ConfigError for a number that is none or
    a device that cannot be used, BundleError for a broken graph.
    """
    if type(threads) is not int or not 0 <= threads <= MOST_THREADS:
        raise ConfigError(f"expected threads from 0 to {MOST_THREADS}; got {threads!r}; give a whole number")
    return OnnxRuntimeBackend(bundle, threads, device)


class OnnxRuntimeBackend:
    """See `Backend`. A call with one row runs on bound buffers: its answer lives until the next such call."""

    def __init__(self, bundle: Bundle, threads: int, device: str) -> None:
        self.manifest = bundle.manifest
        self.num_items = bundle.manifest.num_items
        self.forkable = threads == 1 and device == "cpu"
        providers = onnxruntime_providers(device)
        graphs = {name: bundle.graph(name) for name in self.manifest.graphs}
        # One array that all sessions read in place; they keep no reference to it.
        self.table: onnxruntime.OrtValue | None = None
        if any(shared for _, shared in graphs.values()):
            self.table = onnxruntime.OrtValue.ortvalue_from_numpy(bundle.item_table())
        self.sessions = {}
        for name, (content, shared) in graphs.items():
            options = _options(bundle.manifest, threads)
            if shared:
                # By the first, the numbers are there for whatever reads the graph; by the second, no session on the
                # CPU keeps a copy of them.
                options.add_external_initializers(list(shared), [self.table] * len(shared))
                for initializer in shared if device == "cpu" else ():
                    options.add_initializer(initializer, self.table)
            path = bundle.file(bundle.manifest.graphs[name].file)
            self.sessions[name] = _session(content, path, options, providers)
        step = self.sessions.get("step")
        self.bound_step = BoundGraph(step, self.manifest) if step else None
        self.bound_score = BoundGraph(self.sessions["score"], self.manifest)

    def step(self, rows: np.ndarray, exclude: np.ndarray | None, state: State) -> Output:
        check_rows(self.num_items, rows, *(() if exclude is None else (exclude,)))
        if self.bound_step and len(rows) == 1:
            return self.bound_step.run(rows, exclude, state)
        return self._run("step", {"item_id": rows}, exclude, state)

    def encode(self, rows: np.ndarray, lengths: np.ndarray, exclude: np.ndarray | None, state: State) -> Output:
        check_rows(self.num_items, rows, *(() if exclude is None else (exclude,)))
        return self._run("encode", {"item_ids": rows, "lengths": lengths}, exclude, state)

    def score(self, user: np.ndarray, exclude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        check_rows(self.num_items, exclude)
        if len(user) == 1:
            found = self.bound_score.run(user, exclude, {})
            return found.topk_items, found.topk_scores
        feed = {"user": user, "exclude_items": exclude.astype(np.int64, copy=False)}
        items, scores = self.sessions["score"].run(OUTPUTS[:2], feed)
        return items, scores

    def _run(self, graph: str, feed: dict[str, np.ndarray], exclude: np.ndarray | None, state: State) -> Output:
        tensors = self.manifest.state.tensors
        batch = len(next(iter(feed.values())))
        wanted = [*OUTPUTS, *(tensor.present for tensor in tensors)]
        if exclude is None:
            # Not to fetch the top-k saves a batch of 256 some 7 %.
            exclude, wanted = NOTHING.repeat(batch, 0), wanted[2:]
        feed["exclude_items"] = exclude.astype(np.int64, copy=False)
        feed.update((tensor.past, state[tensor.name]) for tensor in tensors)
        found = dict(zip(wanted, self.sessions[graph].run(wanted, feed), strict=True))
        present = {tensor.name: found[tensor.present] for tensor in tensors}
        return Output(found.get("topk_items", NO_ITEMS), found.get("topk_scores", NO_SCORES), found["user"], present)


class BoundGraph:
    """One graph with fixed buffers for one user: binding once saves about 10 us a call against `run`.

    The room for excluded items is the narrowest of a few widths, each with a binding of its own: what a request does
    not exclude is not paid for, and any number can be excluded.
    """

    def __init__(self, session: onnxruntime.InferenceSession, manifest: Manifest) -> None:
        self.session = session
        inputs = {t.name: _buffer(t) for t in session.get_inputs() if t.name != "exclude_items"}
        outputs = {tensor.name: _buffer(tensor) for tensor in session.get_outputs()}
        self._inputs = {name: onnxruntime.OrtValue.ortvalue_from_numpy(buffer) for name, buffer in inputs.items()}
        self._outputs = {name: onnxruntime.OrtValue.ortvalue_from_numpy(buffer) for name, buffer in outputs.items()}
        self._bindings: dict[int, _Binding] = {}
        tensors = manifest.state.tensors
        self.past = [(inputs.pop(tensor.past), tensor.name) for tensor in tensors if tensor.past in inputs]
        (self.first,) = inputs.values()
        present = {tensor.name: outputs[tensor.present] for tensor in tensors if tensor.present in outputs}
        # score.onnx returns no user vector: the answer then names the one it was given.
        user = outputs.get("user", self.first)
        self.answer = Output(outputs["topk_items"], outputs["topk_scores"], user, present)

    def run(self, first: np.ndarray, exclude: np.ndarray | None, state: State) -> Output:
        """`first` is the item row [1] or user vector [1, D]; the answer lies in the bound buffers themselves."""
        self.first[...] = first
        for buffer, name in self.past:
            buffer[...] = state[name]
        bound = self.binding(1 if exclude is None else exclude.shape[1])
        if exclude is not None:
            bound.fill(exclude)
        self.session.run_with_iobinding(bound.binding)
        return self.answer

    def binding(self, excluded: int) -> _Binding:
        """The narrowest binding with room for so many excluded items."""
        width = NARROWEST
        while width < excluded:
            width *= 4
        if width not in self._bindings:
            self._bindings[width] = _Binding(self.session, self._inputs, self._outputs, width)
        return self._bindings[width]


class _Binding:
    """All buffers of a graph bound once, with room for `width` excluded items."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: Mapping[str, onnxruntime.OrtValue],
        outputs: Mapping[str, onnxruntime.OrtValue],
        width: int,
    ) -> None:
        self.exclude = np.zeros((1, width), np.int64)
        self.used = 0
        self.binding = session.io_binding()
        # A binding keeps no reference to its values, nor a value to its array.
        self.values = {"exclude_items": onnxruntime.OrtValue.ortvalue_from_numpy(self.exclude), **inputs}
        for name, value in self.values.items():
            self.binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            self.binding.bind_ortvalue_output(name, value)

    def fill(self, exclude: np.ndarray) -> None:
        used = exclude.shape[1]
        self.exclude[:, :used] = exclude
        if used < self.used:
            self.exclude[:, used : self.used] = 0
        self.used = used


def _options(manifest: Manifest, threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if 4 * manifest.num_items * manifest.dim >= LARGE_TABLE:
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _session(
    content: bytes, path: Path, options: onnxruntime.SessionOptions, providers: list[Provider]
) -> onnxruntime.InferenceSession:
    """A session of the bytes that were read from `path` and checked: it opens no file."""
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # onnxruntime raises its own types, which share no base but Exception
        got = first_line(error)
        raise BundleError(f"expected an ONNX graph in {path}; got {got}; export the bundle again") from None
    if session.get_providers()[0] != providers[0]:
        raise ConfigError(f"expected {providers[0]} to load; got {session.get_providers()[0]}; use device 'cpu'")
    return session


def _buffer(tensor: Any) -> np.ndarray:
    """Zeros for one user: the batch is the only symbolic axis."""
    shape = [axis if isinstance(axis, int) else 1 for axis in tensor.shape]
    return np.zeros(shape, np.int64 if tensor.type == "tensor(int64)" else np.float32)
