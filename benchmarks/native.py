"""What an event costs in C++ beside Python's runtime and the graph alone: one process, one thread, interleaved.

    cmake -S plugins_trt -B build -G Ninja -DCMAKE_BUILD_TYPE=Release -DDEPLOYREC_CPU=ON -DDEPLOYREC_SHARED=ON
    cmake --build build --target deployrec_serving
    python -m benchmarks.native BUNDLE --library build/serving/libdeployrec_serving.so

One event of each of B users and its list of 10 without what they have seen, users with 50 events behind them: the C++
library through its C interface, `Recommender` in Python (one call of `observe_and_recommend`, or `observe_many` with
lists), and the step graph by itself on bound buffers, through the same library and at the same sizes. Every contender
calls once a turn, in an order that changes with each; a ratio is the median over the turns of the ratio within a turn,
so that a busy machine slows both sides. Ratios are what to keep; milliseconds are this machine's on that day. Writes
native.json.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, write_results
from deployrec.bundle.bundle import Bundle
from deployrec.runtime.backends import native
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.recommender import Recommender

BATCHES, K, HISTORY, GROUPS = (1, 8, 64, 512), 10, 50, 4
"""GROUPS of users take turns, so that no state is warm from the call before."""
SECONDS = 6.0
"""of turns for each batch size"""
NATIVE, PYTHON, GRAPH = "C++", "Python", "graph"
WHOLE = ctypes.c_int64
Call = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--library", type=Path, help="libdeployrec_serving.so; default: $DEPLOYREC_NATIVE_LIBRARY")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each batch size")
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser):
        report = measured(arguments.bundle, arguments.library, arguments.seconds)
    console = Console(width=100)
    console.print(table(report))
    console.print(f"wrote {write_results('native', report, arguments.out or UNTRACKED)}")


def measured(path: Path, library: Path | None, seconds: float) -> dict[str, Any]:
    """Times and ratios at each batch size."""
    bundle = Bundle.open(path)
    cells = []
    for batch in BATCHES:
        draw = random.Random(batch)
        calls = {
            NATIVE: native_calls(bundle, library, batch, draw),
            PYTHON: python_calls(bundle, batch, draw),
            GRAPH: graph_calls(bundle, library, batch, draw),
        }
        turns = interleaved(calls, seconds, draw)
        cells.append(cell(batch, {name: np.array(times) for name, times in turns.items()}))
    about = {"model": bundle.manifest.model["key"], "num_items": bundle.manifest.num_items}
    about["onnxruntime"] = onnxruntime.__version__
    return {**about, "dim": bundle.manifest.dim, "k": K, "history": HISTORY, "cells": cells, "machine": machine("cpu")}


def interleaved(calls: dict[str, Call], seconds: float, draw: random.Random) -> dict[str, list[float]]:
    """Seconds of every contender's call in each turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(2 * GROUPS):
            call()
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        for name in draw.sample(list(calls), len(calls)):
            begin = time.perf_counter()
            calls[name]()
            times[name].append(time.perf_counter() - begin)
    return times


def cell(batch: int, times: dict[str, np.ndarray]) -> dict[str, Any]:
    found: dict[str, Any] = {"batch": batch, "turns": len(times[NATIVE])}
    for name, each in times.items():
        p50, p99 = np.percentile(each, [50, 99]).tolist()
        found[name] = {"p50_us": 1e6 * p50, "p99_us": 1e6 * p99, "events_per_second": batch / p50}
    found["cost_of_graph"] = float(np.median(times[NATIVE] / times[GRAPH]))
    found["times_python"] = float(np.median(times[PYTHON] / times[NATIVE]))
    return found


def native_calls(bundle: Bundle, library: Path | None, batch: int, draw: random.Random) -> Call:
    """The C++ library, which keeps the users."""
    c = native._library(library)
    c.deployrec_load.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)]
    many, size = ctypes.POINTER(WHOLE), ctypes.c_size_t
    c.deployrec_encode.argtypes = [ctypes.c_void_p, WHOLE, many, size, ctypes.c_int]
    lists = (WHOLE, many, ctypes.POINTER(ctypes.c_float))
    c.deployrec_observe_and_recommend.argtypes = [ctypes.c_void_p, many, many, size, *lists]
    options = c.deployrec_options_new()
    for name, value in {"bundle": str(bundle.path), **native._onnxruntime(), "max_users": "10000"}.items():
        checked(c, c.deployrec_options_set(options, name.encode(), value.encode()))
    handle = ctypes.c_void_p()
    checked(c, c.deployrec_load(options, ctypes.byref(handle)))
    num_items = bundle.manifest.num_items
    for user in range(GROUPS * batch):
        rows = (WHOLE * HISTORY)(*(draw.randint(1, num_items) for _ in range(HISTORY)))
        checked(c, c.deployrec_encode(handle, user, rows, HISTORY, 0))
    groups = [(WHOLE * batch)(*range(group * batch, (group + 1) * batch)) for group in range(GROUPS)]
    events = [(WHOLE * batch)(*(draw.randint(1, num_items) for _ in range(batch))) for _ in range(64)]
    rows, scores, number = (WHOLE * (batch * K))(), (ctypes.c_float * (batch * K))(), count()

    def call() -> None:
        turn = next(number)
        users, items = groups[turn % GROUPS], events[turn % 64]
        checked(c, c.deployrec_observe_and_recommend(handle, users, items, batch, K, rows, scores))

    return call


def python_calls(bundle: Bundle, batch: int, draw: random.Random) -> Call:
    recommender = Recommender(bundle, load_backend("onnxruntime", bundle))
    ids = recommender.catalogue.item_ids[1:]
    for user in range(GROUPS * batch):
        recommender.encode_history(user, draw.choices(ids, k=HISTORY))
    users = [[str(group * batch + place) for place in range(batch)] for group in range(GROUPS)]
    items = [draw.choices(ids, k=batch) for _ in range(64)]
    number = count()

    def call() -> object:
        turn = next(number)
        group, event = users[turn % GROUPS], items[turn % 64]
        if batch == 1:
            return recommender.observe_and_recommend(group[0], event[0], k=K)
        return recommender.observe_many(list(zip(group, event, strict=True)), recommend=K)

    return call


def graph_calls(bundle: Bundle, library: Path | None, batch: int, draw: random.Random) -> Call:
    """The step graph on buffers that were bound and filled before: nothing but its run."""
    backend = native.load(bundle, library=library)
    num_items = bundle.manifest.num_items
    rows = np.array([draw.randint(1, num_items) for _ in range(batch)])
    seen = np.array([[draw.randint(1, num_items) for _ in range(HISTORY)] for _ in range(batch)])
    histories = np.array([[draw.randint(1, num_items) for _ in range(HISTORY)] for _ in range(batch)])
    moved = backend.encode(histories, np.full(batch, HISTORY), bundle.manifest.state.zeros(batch))
    backend.step(rows, np.pad(seen, ((0, 0), (0, 206))), K, moved.state)
    (address,) = (run.address for key, run in backend._bound.items() if key[0] == "step")
    c, graphs = backend._library, backend._graphs

    def call() -> object:
        checked(c, c.deployrec_graphs_run(graphs, address))
        return backend  # which owns what the graph reads and writes

    return call


def checked(library: ctypes.CDLL, code: int) -> None:
    if code:
        raise RuntimeError(library.deployrec_error().decode())


def table(report: dict[str, Any]) -> Table:
    found = Table(box=None, pad_edge=False, title=f"{report['model']}, {report['num_items']:,} items, lists of {K}")
    for title in ("B", *(f"{who} {what}" for who in (NATIVE, PYTHON, GRAPH) for what in ("p50 us", "p99 us"))):
        found.add_column(title, justify="right")
    for title in ("C++ events/s", "x the graph's time", "x Python's rate"):
        found.add_column(title, justify="right")
    for each in report["cells"]:
        times = [f"{each[who][what]:,.0f}" for who in (NATIVE, PYTHON, GRAPH) for what in ("p50_us", "p99_us")]
        ratios = [f"{each['cost_of_graph']:.2f}", f"{each['times_python']:.2f}"]
        found.add_row(str(each["batch"]), *times, f"{each[NATIVE]['events_per_second']:,.0f}", *ratios)
    return found


if __name__ == "__main__":
    main()
