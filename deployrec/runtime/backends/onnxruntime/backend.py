"""Runs a bundle's graphs through ONNX Runtime, on buffers bound once for each size of request."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path

import numpy as np
import onnxruntime

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import ITEM_TABLE, SCALES, Manifest
from deployrec.bundle.time_facts import ELAPSED
from deployrec.errors import BundleError, ConfigError
from deployrec.files import first_line
from deployrec.runtime.backends.base import NOTHING, Moved, State, TopK, check_k, check_rows
from deployrec.runtime.backends.onnxruntime.bound import BoundGraph
from deployrec.runtime.backends.onnxruntime.providers import Provider, onnxruntime_providers

MOST_THREADS = 1024
LARGE_TABLE = 32 * 2**20
"""Bytes of an item table from which on the sessions that score read it in place: packing weights for the CPU would hold
a copy in each of them (775 MB for a million items of 64) and is slower for one user at that size."""


def load(bundle: Bundle, threads: int = 1, device: str = "cpu") -> OnnxRuntimeBackend:
    """Opens the sessions of all graphs; one thread is fastest for single requests on small catalogues.

    threads: 0 for as many as there are cores; device: "cpu" or "cuda". Raises ConfigError for a number that is none or
    a device that cannot be used, BundleError for a broken graph.
    """
    if type(threads) is not int or not 0 <= threads <= MOST_THREADS:
        raise ConfigError(f"expected threads from 0 to {MOST_THREADS}; got {threads!r}; give a whole number")
    return OnnxRuntimeBackend(bundle, threads, device)


class OnnxRuntimeBackend:
    """See `Backend`. The answers of `advance`, `step` and `score` live until the next call of the same."""

    def __init__(self, bundle: Bundle, threads: int, device: str) -> None:
        self.manifest = bundle.manifest
        self.num_items = bundle.manifest.num_items
        self.forkable = threads == 1 and device == "cpu"
        providers = onnxruntime_providers(device)
        # Arrays that all sessions read in place; they keep no reference to them.
        self.item_table = bundle.stored_table()
        arrays = {ITEM_TABLE: self.item_table.values, SCALES: self.item_table.scales}
        self._shared = {
            file: onnxruntime.OrtValue.ortvalue_from_numpy(array) for file, array in arrays.items() if array is not None
        }
        self._graphs = {name: bundle.graph(name) for name in self.manifest.graphs}
        self._open = partial(self._opened, bundle, threads, device, providers)
        self.sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._bound: dict[str, BoundGraph] = {}
        for name in self.manifest.graphs:
            # Where the table is narrow, a graph that scores would keep it in float32: it is opened when it is asked.
            if self.item_table.dtype == "float32" or name in ("advance", "encode"):
                self.session(name)
        self._encode = self.session("encode")
        self._past = [(tensor.past, tensor.name) for tensor in self.manifest.state.tensors]
        self._present = [tensor.name for tensor in self.manifest.state.tensors]
        self._encoded = ["user", *(tensor.present for tensor in self.manifest.state.tensors)]

    def session(self, name: str) -> onnxruntime.InferenceSession:
        """Of a graph; opened at the first call."""
        if name not in self.sessions:
            self.sessions[name] = self._open(name)
        return self.sessions[name]

    def bound(self, name: str) -> BoundGraph:
        """A graph on buffers of the backend's own."""
        if name not in self._bound:
            self._bound[name] = BoundGraph(self.session(name))
        return self._bound[name]

    def _opened(
        self, bundle: Bundle, threads: int, device: str, providers: list[Provider], name: str
    ) -> onnxruntime.InferenceSession:
        content, files = self._graphs[name]
        options, values = _options(bundle.manifest, threads, name), [self._shared[file] for file in files.values()]
        if files:
            # By the first, the numbers are there for whatever reads the graph; by the second, no session on the CPU
            # keeps a copy of them.
            options.add_external_initializers(list(files), values)
            for initializer, value in zip(files, values, strict=True) if device == "cpu" else ():
                options.add_initializer(initializer, value)
        return _session(content, bundle.file(bundle.manifest.graphs[name].file), options, providers)

    def advance(self, rows: np.ndarray, state: State) -> Moved:
        check_rows(self.num_items, rows)
        return self.bound("advance").binding(len(rows)).advance(rows, state)

    def step(
        self, rows: np.ndarray, exclude: np.ndarray | None, k: int, state: State, elapsed: np.ndarray | None = None
    ) -> tuple[Moved, TopK]:
        exclude = NOTHING if exclude is None else exclude
        check_rows(self.num_items, rows, exclude)
        check_k(self.num_items, k)
        return self.bound("step").binding(len(rows), exclude.shape[1], k).step(rows, exclude, state, elapsed)

    def in_place(self, rows: np.ndarray, past: State, moved: Moved) -> BoundInPlace:
        """See `deployrec.runtime.backends.base.in_place`: the graphs read and write these arrays themselves."""
        return BoundInPlace(self, rows, past, moved)

    def encode(self, rows: np.ndarray, lengths: np.ndarray, state: State) -> Moved:
        check_rows(self.num_items, rows)
        feed = {"item_ids": rows, "lengths": lengths}
        feed.update((past, state[name]) for past, name in self._past)
        user, *present = self._encode.run(self._encoded, feed)
        return Moved(user, dict(zip(self._present, present, strict=True)))

    def score(self, user: np.ndarray, exclude: np.ndarray | None, k: int, elapsed: np.ndarray | None = None) -> TopK:
        exclude = NOTHING if exclude is None else exclude
        check_rows(self.num_items, exclude)
        check_k(self.num_items, k)
        return self.bound("score").binding(len(user), exclude.shape[1], k).score(user, exclude, elapsed)

    def moment(self, user: np.ndarray, elapsed: np.ndarray | None) -> np.ndarray:
        assert self.manifest.time is not None
        told = self.manifest.time.unknown(len(user)) if elapsed is None else elapsed
        (now,) = self.session("moment").run(None, {"user": user, ELAPSED: told})
        moved: np.ndarray = now
        return moved


class BoundInPlace:
    """See `InPlace`."""

    def __init__(self, backend: OnnxRuntimeBackend, rows: np.ndarray, past: State, moved: Moved) -> None:
        buffers = {"item_id": rows, "user": moved.user}
        if time := backend.manifest.time:
            buffers[ELAPSED] = time.unknown(len(rows))
        for tensor in backend.manifest.state.tensors:
            buffers |= {tensor.past: past[tensor.name], tensor.present: moved.state[tensor.name]}
        self._num_items, self._rows = backend.num_items, rows
        self._backend, self._buffers = backend, buffers
        self._advance = BoundGraph(backend.session("advance"), buffers, len(rows)).binding(len(rows))

    @cached_property
    def _step(self) -> BoundGraph:
        return BoundGraph(self._backend.session("step"), self._buffers, len(self._rows))

    def advance(self) -> None:
        check_rows(self._num_items, self._rows)
        self._advance.run()

    def step(self, exclude: np.ndarray, k: int, elapsed: np.ndarray | None = None) -> TopK:
        check_rows(self._num_items, self._rows, exclude)
        check_k(self._num_items, k)
        bound = self._step.binding(len(exclude), exclude.shape[1], k)
        bound.leave_out(exclude)
        bound.tell(elapsed)
        bound.run()
        return bound.best


def _options(manifest: Manifest, threads: int, graph: str) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if graph in ("step", "score") and 4 * manifest.num_items * manifest.dim >= LARGE_TABLE:
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
