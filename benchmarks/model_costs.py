"""What each model costs where it serves: bytes of a user's state, and one request after a real history.

    python -m benchmarks.model_costs --data ml-1m

Random weights, d = 64, 3,416 items, ONNX Runtime's CPU, one thread, memory store. A request is one event in and a list
of 10 out by the public call, after 200 events, what was seen left out: a model with a state runs its step, another
reads its newest events again. All take turns in one process, in random order. Writes model_costs.json, which a table of
docs/models.md shows beside the accuracy. Let nothing else run.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy import parse
from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from deployrec.benchmark import Point
from deployrec.benchmark.bundles import random_bundle
from deployrec.benchmark.calls import PublicCalls
from deployrec.benchmark.race import race
from deployrec.benchmark.replay import Replay
from deployrec.data import load_dataset
from deployrec.models import available_models
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.recommender import Recommender
from deployrec.training.config import parse_settings

ITEMS, DIM, HISTORY, K, SETS = 3416, 64, 200, 10, 64


@dataclass(frozen=True)
class Row:
    model: str
    state_bytes: int
    """of a user: state tensors, or the window of item rows that is read again"""
    again: int
    """newest events that a request reads again; 0: it runs the step"""
    request: float
    """microseconds, median"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample", help="an event log whose sessions are replayed")
    parser.add_argument("--models", nargs="+", default=[*sorted(available_models()), "sasrec:block=ligr"])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each model")
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser), tempfile.TemporaryDirectory() as folder:
        replay = Replay(load_dataset(arguments.data), 0)
        rows = measure(arguments.models, replay, arguments.seconds, Path(folder))
    print(markdown(["model", "state, KiB", "read again", "request, us"], [cells(row) for row in rows]))
    document = {"machine": machine("cpu"), "items": ITEMS, "dim": DIM, "history": HISTORY, "k": K}
    document["rows"] = [asdict(row) for row in rows]
    write_results("model_costs", document, arguments.out or UNTRACKED)


def measure(models: list[str], replay: Replay, seconds: float, folder: Path) -> list[Row]:
    """A row for each model."""
    point = Point(1, HISTORY, ITEMS, 1)
    sessions = [replay.sessions(point, number) for number in range(SETS)]
    manifests, timers = [], []
    for spec in models:
        model, settings = parse(spec)
        options = {"dim": DIM, **parse_settings(model, settings)}
        bundle = random_bundle(model, ITEMS, folder / spec.replace(":", "-"), **options)
        calls = PublicCalls(Recommender(bundle, load_backend("onnxruntime", bundle, threads=1)), K)
        histories, following = zip(*((each.history, each.following) for each in sessions), strict=True)
        timers.append(calls.timer("observe_and_recommend", histories, following))
        manifests.append(bundle.manifest)
    found = race(timers, seconds=seconds, rounds=20, seed=0, failed=fail)
    rows = []
    for model, manifest, times in zip(models, manifests, found, strict=True):
        again = 0 if "step" in manifest.graphs and not manifest.window else min(manifest.window, HISTORY)
        rows.append(Row(model, manifest.state.bytes + 4 * manifest.window, again, 1e6 * float(np.median(times))))
    return rows


def cells(row: Row) -> list[str]:
    return [row.model, f"{row.state_bytes / 1024:.2f}", str(row.again or ""), f"{row.request:.0f}"]


def fail(index: int, error: Exception) -> None:
    raise error


if __name__ == "__main__":
    main()
