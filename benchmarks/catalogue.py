"""What a million items cost a request: exact, through the index, and under filters; time, recall and memory.

    OMP_NUM_THREADS=1 python -m benchmarks.catalogue bundles/recblr --data ml-1m
    OMP_NUM_THREADS=1 python -m benchmarks.catalogue bundles/recblr --data ml-1m --crossing

The table is a trained bundle's: each of its items with clones around it, a million in all, and users' histories are
those of --data with each item replaced by one of its clones. Every call is `observe_and_recommend`, event in to top-10
out, one thread; the ways take turns at each event. Recall@10 is against the exact list of the same moment.
Writes catalogue.json. --crossing prints how many items a filter must allow for scoring all of them to be faster than
copying those out: what the constants of deployrec/runtime/ranking.py are.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.large_catalogue import histories, large_bundle, user_vectors
from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, time_together, write_results
from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.manifest import INDEX, ITEM_TABLE
from deployrec.data import load_dataset
from deployrec.export.index import write_index
from deployrec.runtime import Recommender

MEASURED_USERS = 1000
ASKING = 50
"""Users whose events are timed."""
ONE_PERCENT = "bucket == 7"
HALF = "bucket < 50"


@dataclass(frozen=True)
class Row:
    way: str
    median_ms: float
    p99_ms: float
    recall: float
    """at 10, against the exact list"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True, help="the log that the bundle was trained on")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=200, help="timed, by each way")
    parser.add_argument("--crossing", action="store_true", help="only: when to copy allowed items out")
    add_out(parser)
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.exit(2, f"{parser.prog}: expected OMP_NUM_THREADS=1, for one thread is measured; set it\n")
    with clear_errors(parser), tempfile.TemporaryDirectory() as scratch:
        bundle, dataset = Bundle.open(arguments.bundle), load_dataset(arguments.data)
        large, source = large_bundle(bundle, arguments.items, Path(scratch) / "large")
        if arguments.crossing:
            print(markdown(["allowed", "copied out, ms", "all scored, ms"], crossing(large.item_table())))
            return
        measured = user_vectors(large, histories(dataset, source, MEASURED_USERS))
        facts = write_index(large.item_table(), measured, large.path, np.zeros(0, np.int64))
        seal(large.path, {**large.manifest.document, "index": facts})
        events = histories(dataset, source, ASKING, seed=1)
        rows = measure(large.path, events, arguments.events)
        memory = sizes(Bundle.open(large.path, check=False))
    lines = [[row.way, f"{row.median_ms:.3f}", f"{row.p99_ms:.3f}", f"{row.recall:.4f}"] for row in rows]
    print(markdown(["way", "median ms", "p99 ms", "recall@10"], lines))
    print(
        f"{facts['kind']}, {facts['probes']} lists a request: recall {facts['recall']:.4f} of {facts['users']:,} users"
    )
    print(", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in memory.items()))
    print(f"table and index: {(memory['table'] + memory['index']) / memory['table']:.2f} of the float32 table")
    results = {"machine": machine("cpu"), "items": arguments.items, "index": facts, "bytes": memory}
    write_results("catalogue", {**results, "rows": [asdict(row) for row in rows]}, arguments.out or UNTRACKED)


def measure(path: Path, read: list[np.ndarray], events: int) -> list[Row]:
    """A row a way."""
    near, exact = Recommender.load(path), Recommender.load(path, exact=True)
    ids = exact.catalogue.item_ids
    ways: dict[str, tuple[Recommender, dict[str, Any]]] = {
        "exact": (exact, {}),
        "index": (near, {}),
        "1 % allowed": (near, {"where": ONE_PERCENT}),
        "50 % allowed": (near, {"where": HALF}),
        "50 % allowed, exact": (exact, {"where": HALF}),
        "100 allowed by id": (near, {"only": ids[1:101]}),
        "20 excluded by id": (near, {"exclude": ids[1:21]}),
    }
    rng = np.random.default_rng(0)
    named_histories = [[ids[row] for row in rows] for rows in read]
    for recommender in (near, exact):
        for user, history in enumerate(named_histories):
            recommender.encode_history(f"u{user}", history)
        for where in (ONE_PERCENT, HALF):  # a filter's rows are kept once they are known
            recommender.recommend("u0", where=where)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(events):
        asking, item = f"u{rng.integers(len(read))}", ids[rng.integers(1, len(ids))]
        for way, (recommender, named) in ways.items():
            start = time.perf_counter()
            recommender.observe_and_recommend(asking, item, k=10, **named)
            times[way].append(time.perf_counter() - start)
    recalls = {way: recall(recommender, exact, named_histories, named) for way, (recommender, named) in ways.items()}
    return [
        Row(way, float(np.median(each) * 1e3), float(np.quantile(each, 0.99) * 1e3), recalls[way])
        for way, each in times.items()
    ]


def recall(recommender: Recommender, exact: Recommender, read: list[list[str]], named: dict[str, Any]) -> float:
    """Which share of the ten best after each history comes, on average."""
    shares = []
    for history in read:
        lists = (each.recommend_after(history, 10, **named) for each in (recommender, exact))
        found, best = ({entry.item_id for entry in entries} for entries in lists)
        shares.append(len(found & best) / len(best))
    return float(np.mean(shares))


def sizes(bundle: Bundle) -> dict[str, int]:
    """Bytes in memory: a backend holds the table once, and the index is as large as its file."""
    return {"table": bundle.manifest.files[ITEM_TABLE].bytes, "index": bundle.manifest.files[INDEX].bytes}


def crossing(table: np.ndarray) -> list[list[str]]:
    """A line for each share of the items that may come: what both ways take."""
    rng, user, lines = np.random.default_rng(0), table[1:2], []
    for share in (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5):
        number = int(share * (len(table) - 1))
        rows = np.sort(rng.choice(np.arange(1, len(table)), number, replace=False)).astype(np.int32)
        calls: dict[str, Callable[[], object]] = {
            "out": partial(_copied, table, user, rows),
            "all": partial(_picked, table, user, rows),
        }
        found = time_together(calls, "cpu")
        lines.append([f"{number:,} ({share:.1%})", *(f"{found[name].median * 1e3:.3f}" for name in calls)])
    return lines


def _copied(table: np.ndarray, user: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return user @ table.take(rows, axis=0).T


def _picked(table: np.ndarray, user: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (user @ table.T).take(rows, axis=1)


if __name__ == "__main__":
    main()
