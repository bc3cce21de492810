"""The C++ library's engine over ONNX Runtime, through its C interface (plugins_trt/serving/include/deployrec.h)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import Manifest
from deployrec.errors import BundleError, ConfigError
from deployrec.files import first_line
from deployrec.runtime.backends.base import NOTHING, Moved, State, TopK, check_k, check_rows, check_timeless

LIBRARY_VARIABLE = "DEPLOYREC_NATIVE_LIBRARY"
NAMES = ("libdeployrec_serving.so", "libdeployrec_serving.so.0")
POINTER = ctypes.c_void_p
BROKEN_FILE = 2
"""DEPLOYREC_FILE"""
NARROWEST = 64
"""Room for excluded items; each further width has four times as much, so that few sizes are bound."""
MOST_BOUND = 64
"""Sizes of runs that stay bound."""


def load(bundle: Bundle, library: str | Path | None = None, threads: int = 1, provider: str = "cpu") -> NativeBackend:
    """Opens the bundle's graphs in C++.

    library: path of libdeployrec_serving.so, built with -DDEPLOYREC_SHARED=ON; None: the one that
    DEPLOYREC_NATIVE_LIBRARY names, else the system's. provider: "cpu", "cuda" or "tensorrt". Raises ConfigError where
    there is no library or an option is not taken, BundleError for a bundle that C++ refuses.
    """
    check_timeless(bundle, "the backend native")
    return NativeBackend(_library(library), bundle, threads, provider)


class NativeBackend:
    """See `Backend`. Answers live until the next call of the same graph and sizes."""

    forkable = False

    def __init__(self, library: ctypes.CDLL, bundle: Bundle, threads: int, provider: str) -> None:
        self.manifest = bundle.manifest
        self._library = library
        self._graphs = POINTER()
        self._bound: dict[tuple[str, int, int, int, int], _BoundRun] = {}
        given = {"bundle": str(bundle.path), "threads": threads, "provider": provider, **_onnxruntime()}
        options = library.deployrec_options_new()
        try:
            for name, value in given.items():
                self._check(library.deployrec_options_set(options, name.encode(), str(value).encode()))
            self._check(library.deployrec_graphs_open(options, ctypes.byref(self._graphs)))
        finally:
            library.deployrec_options_free(options)

    def __del__(self) -> None:
        if graphs := getattr(self, "_graphs", None):
            self._library.deployrec_graphs_free(graphs)

    def advance(self, rows: np.ndarray, state: State) -> Moved:
        check_rows(self.manifest.num_items, rows)
        run = self._of("advance", len(rows))
        run.items[...] = rows
        return self._moved(run, state)

    def step(self, rows: np.ndarray, exclude: np.ndarray | None, k: int, state: State) -> tuple[Moved, TopK]:
        check_rows(self.manifest.num_items, rows)
        run = self._listing("step", len(rows), exclude, k)
        run.items[...] = rows
        return self._moved(run, state), run.best

    def encode(self, rows: np.ndarray, lengths: np.ndarray, state: State) -> Moved:
        check_rows(self.manifest.num_items, rows)
        run = self._of("encode", *rows.shape)
        run.items[...], run.lengths[...] = rows, lengths
        return self._moved(run, state)

    def score(self, user: np.ndarray, exclude: np.ndarray | None, k: int) -> TopK:
        run = self._listing("score", len(user), exclude, k)
        run.user[...] = user
        self._check(self._library.deployrec_graphs_run(self._graphs, run.address))
        return run.best

    def _moved(self, run: _BoundRun, state: State) -> Moved:
        for name, tensor in run.past.items():
            tensor[...] = state[name]
        self._check(self._library.deployrec_graphs_run(self._graphs, run.address))
        return Moved(run.user, run.present)

    def _listing(self, graph: str, batch: int, exclude: np.ndarray | None, k: int) -> _BoundRun:
        exclude = NOTHING if exclude is None else exclude
        check_rows(self.manifest.num_items, exclude)
        check_k(self.manifest.num_items, k)
        used, width = exclude.shape[1], NARROWEST
        while width < used:
            width *= 4
        run = self._of(graph, batch, 1, k, width)
        run.exclude[:, :used] = exclude
        run.exclude[:, used:] = 0
        return run

    def _of(self, graph: str, batch: int, time: int = 1, k: int = 0, excluded: int = 0) -> _BoundRun:
        key = (graph, batch, time, k, excluded)
        found = self._bound.get(key)
        if found is None:
            if len(self._bound) >= MOST_BOUND:
                self._bound.clear()
            found = self._bound[key] = _BoundRun(self.manifest, *key)
        return found

    def _check(self, code: int) -> None:
        if code:
            line = self._library.deployrec_error().decode(errors="replace")
            raise (BundleError if code == BROKEN_FILE else ConfigError)(line)


class _BoundRun:
    """The tensors of a graph at one size, which stay where they are: C++ binds them once."""

    def __init__(self, manifest: Manifest, graph: str, batch: int, time: int, k: int, excluded: int) -> None:
        moves = {t.name: t.shape for t in manifest.state.tensors} if graph != "score" else {}
        self.items = np.zeros((batch, time) if graph == "encode" else batch, np.int64)
        self.lengths = np.zeros(batch, np.int64)
        self.exclude = np.zeros((batch, excluded), np.int64)
        self.past = {name: np.zeros((batch, *shape), np.float32) for name, shape in moves.items()}
        self.present = {name: np.zeros((batch, *shape), np.float32) for name, shape in moves.items()}
        self.best = TopK(np.zeros((batch, k), np.int64), np.zeros((batch, k), np.float32))
        self.user = np.zeros((batch, manifest.dim), np.float32)
        self._run = _Run(
            graph.encode(), batch, time, k, excluded, _address(self.items), _address(self.lengths),
            _address(self.exclude), _addresses(self.past), _addresses(self.present), _address(self.best.items),
            _address(self.best.scores), _address(self.user),
        )  # fmt: skip
        self.address = ctypes.byref(self._run)


class _Run(ctypes.Structure):
    """`deployrec_run`"""

    _fields_ = (
        ("graph", ctypes.c_char_p),
        *((name, ctypes.c_int64) for name in ("batch", "time", "k", "excluded")),
        *((name, ctypes.c_void_p) for name in ("items", "lengths", "exclude")),
        *((name, ctypes.POINTER(ctypes.c_void_p)) for name in ("past", "present")),
        *((name, ctypes.c_void_p) for name in ("topk_items", "topk_scores", "user")),
    )


def _address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


def _addresses(arrays: Mapping[str, np.ndarray]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*map(_address, arrays.values()))


def _library(path: str | Path | None) -> ctypes.CDLL:
    """The shared library with the types of what is called here; raises ConfigError where it cannot be loaded."""
    named = path or os.environ.get(LIBRARY_VARIABLE)
    reason = ""
    for name in (str(named),) if named else NAMES:
        try:
            library = ctypes.CDLL(name)
            library.deployrec_options_new.restype = ctypes.c_void_p
            library.deployrec_options_set.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
            library.deployrec_options_free.argtypes = [ctypes.c_void_p]
            library.deployrec_graphs_open.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)]
            library.deployrec_graphs_run.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Run)]
            library.deployrec_graphs_free.argtypes = [ctypes.c_void_p]
            library.deployrec_error.restype = ctypes.c_char_p
            return library
        except (OSError, AttributeError) as error:
            reason = reason or first_line(error)
    raise ConfigError(
        f"expected the C++ library libdeployrec_serving.so; got {reason}; "
        f"build plugins_trt with -DDEPLOYREC_SHARED=ON and set {LIBRARY_VARIABLE} to it"
    )


def _onnxruntime() -> dict[str, str]:
    """The option that names ONNX Runtime's own library in the Python package, where it is installed."""
    spec = find_spec("onnxruntime")
    for folder in (spec and spec.submodule_search_locations) or ():
        for library in Path(folder).glob("capi/libonnxruntime.so.*"):
            return {"onnxruntime_library": str(library)}
    return {}
