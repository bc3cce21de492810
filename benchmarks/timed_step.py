"""What a step costs that knows the seconds since the last event, beside the same step that does not.

    python -m benchmarks.timed_step

Random weights, d = 64, ONNX Runtime's CPU, one thread; bare graphs, whose lists of 10 leave out 200 items. All take
turns in one process, in random order; a ratio is that of the medians. Writes timed_step.json. Let nothing else run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from deployrec.benchmark.bundles import random_bundle
from deployrec.benchmark.race import Timer, race
from deployrec.bundle.bundle import Bundle
from deployrec.runtime.backends.base import load_backend

DIM, K, SEEN, DAY = 64, 10, 200, 86_400.0
HEADER = ["model", "graph", "users", "timeless, us", "timed, us", "ratio"]


@dataclass(frozen=True)
class Row:
    model: str
    graph: str
    users: int
    timeless: float
    """microseconds, median"""
    timed: float

    @property
    def ratio(self) -> float:
        return self.timed / self.timeless


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["recblr", "glintru", "gru4rec"])
    parser.add_argument("--items", type=int, default=3416)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each graph")
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser), tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments.models, arguments.items, arguments.users, arguments.seconds, Path(folder))
    lines = [
        [row.model, row.graph, str(row.users), f"{row.timeless:.1f}", f"{row.timed:.1f}", f"{row.ratio:.2f}"]
        for row in rows
    ]
    print(markdown(HEADER, lines))
    document = {"machine": machine("cpu"), "items": arguments.items, "rows": [asdict(row) for row in rows]}
    write_results("timed_step", document, arguments.out or UNTRACKED)


def measure(models: list[str], items: int, batches: list[int], seconds: float, folder: Path) -> list[Row]:
    """A row for each model, graph and number of users."""
    cells: list[tuple[str, str, int]] = []
    timers: list[Timer] = []
    for model in models:
        bundles = [
            random_bundle(model, items, folder / f"{model}-{timed}", dim=DIM, time=timed) for timed in (False, True)
        ]
        for users in batches:
            for graph in ("step", "score"):
                cells.append((model, graph, users))
                timers += [timer(call(bundle, graph, users)) for bundle in bundles]
    found = race(timers, seconds=seconds, rounds=20, seed=0, failed=fail)
    medians = [1e6 * float(np.median(times)) for times in found]
    return [Row(*cell, *pair) for cell, *pair in zip(cells, medians[::2], medians[1::2], strict=True)]


def call(bundle: Bundle, graph: str, users: int) -> Callable[[], object]:
    """One run of a graph, at any time of a day after the last event where it asks."""
    rng, backend, manifest = np.random.default_rng(0), load_backend("onnxruntime", bundle), bundle.manifest
    rows = rng.integers(1, manifest.num_items + 1, users)
    exclude = rng.integers(1, manifest.num_items + 1, (users, SEEN))
    elapsed = rng.uniform(0, DAY, users).astype(np.float32) if manifest.time else None
    state = manifest.state.zeros(users)
    user = rng.normal(size=(users, manifest.dim)).astype(np.float32)
    if graph == "step":
        return lambda: backend.step(rows, exclude, K, state, elapsed)
    return lambda: backend.score(user, exclude, K, elapsed)


def timer(run: Callable[[], object]) -> Timer:
    def timed(calls: int) -> np.ndarray:
        stamps = np.empty(calls + 1)
        stamps[0] = time.perf_counter()
        for number in range(calls):
            run()
            stamps[number + 1] = time.perf_counter()
        return np.diff(stamps)

    return timed


def fail(index: int, error: Exception) -> None:
    raise error


if __name__ == "__main__":
    main()
