"""What a million items cost a request: exact, through the index, and under filters; time, recall and memory.

    OMP_NUM_THREADS=1 python -m benchmarks.catalogue bundles/recblr bundles/recblr-int8 --data ml-1m
    OMP_NUM_THREADS=1 python -m benchmarks.catalogue bundles/recblr --data ml-1m --crossing

The table is a trained bundle's: each of its items with clones around it, a million in all, and users' histories are
those of --data with each item replaced by one of its clones. Further bundles are those of the same run with rounded
tables. Every call is `observe_and_recommend`, event in to top-10 out, one thread; the ways take turns, a hundred
events each. Recall@10 is against the exact list of the first bundle under the same filter. Writes catalogue.json.
--crossing prints how many items a filter must allow for scoring all of them to be faster than copying those out: what
the constants of deployrec/runtime/ranking.py are.
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
from deployrec.bundle.manifest import INDEX, ITEM_TABLE, SCALES
from deployrec.data import load_dataset
from deployrec.errors import ConfigError
from deployrec.export.index import write_index
from deployrec.runtime import Recommender

MEASURED_USERS = 1000
ASKING = 50
"""Users whose events are timed."""
ONE_PERCENT = "bucket == 7"
HALF = "bucket < 50"


TURN = 100
"""Events that a way answers before the next one has its turn."""


@dataclass(frozen=True)
class Row:
    table: str
    way: str
    median_ms: float
    fastest_tenth_ms: float
    p99_ms: float
    recall: float
    """at 10, against the first bundle's exact list"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--data", required=True, help="the log that the bundles were trained on")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=400, help="timed, by each way")
    parser.add_argument("--crossing", action="store_true", help="only: when to copy allowed items out")
    add_out(parser)
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.exit(2, f"{parser.prog}: expected OMP_NUM_THREADS=1, for one thread is measured; set it\n")
    with clear_errors(parser), tempfile.TemporaryDirectory() as scratch:
        bundles, dataset = [Bundle.open(path) for path in arguments.bundles], load_dataset(arguments.data)
        for bundle in bundles:
            if (expected := bundle.manifest.num_items) != dataset.num_items:
                raise ConfigError(
                    f"expected the log that {bundle.path} was trained on, of {expected:,} items; "
                    f"got {dataset.num_items:,} items in {arguments.data}; pass that log"
                )
        made = [large_bundle(each, arguments.items, Path(scratch) / f"{n}") for n, each in enumerate(bundles)]
        larges, source = [large for large, _ in made], made[0][1]
        if arguments.crossing:
            print(markdown(["allowed", "copied out, ms", "all scored, ms"], crossing(larges[0].item_table())))
            return
        memory = {}
        for large in larges:
            measured = user_vectors(large, histories(dataset, source, MEASURED_USERS))
            facts = write_index(large.item_table(), measured, large.path, np.zeros(0, np.int64))
            seal(large.path, {**large.manifest.document, "index": facts})
            memory[large.manifest.table.dtype] = sizes(Bundle.open(large.path, check=False))
        read = histories(dataset, source, ASKING, seed=1)
        rows = measure([large.path for large in larges], read, arguments.events)
    times = ("median_ms", "fastest_tenth_ms", "p99_ms")
    lines = [[r.table, r.way, *(f"{getattr(r, name):.3f}" for name in times), f"{r.recall:.4f}"] for r in rows]
    print(markdown(["table", "way", "median ms", "fastest tenth ms", "p99 ms", "recall@10"], lines))
    whole = 4 * (arguments.items + 1) * bundles[0].manifest.dim
    for dtype, found in memory.items():
        parts = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in found["bytes"].items())
        share = sum(found["bytes"].values()) / whole
        print(f"{dtype}: {parts}, together {share:.2f} of the float32 table; {found['index']}")
    results = {"machine": machine("cpu"), "items": arguments.items, "memory": memory}
    write_results("catalogue", {**results, "rows": [asdict(row) for row in rows]}, arguments.out or UNTRACKED)


def measure(paths: list[Path], read: list[np.ndarray], events: int) -> list[Row]:
    """A row a way."""
    ways: dict[tuple[str, str], tuple[Recommender, dict[str, Any]]] = {}
    exact = Recommender.load(paths[0], exact=True)
    ids = exact.catalogue.item_ids
    for path in paths:
        near, all_scored = Recommender.load(path), Recommender.load(path, exact=True)
        table = near.manifest.table.dtype
        ways |= {
            (table, "exact"): (all_scored, {}),
            (table, "index"): (near, {}),
            (table, "1 % allowed"): (near, {"where": ONE_PERCENT}),
            (table, "50 % allowed"): (near, {"where": HALF}),
            (table, "50 % allowed, exact"): (all_scored, {"where": HALF}),
            (table, "100 allowed by id"): (near, {"only": ids[1:101]}),
            (table, "20 excluded by id"): (near, {"exclude": ids[1:21]}),
        }
    rng = np.random.default_rng(0)
    named_histories = [[ids[row] for row in rows] for rows in read]
    for recommender in {id(each): each for each, _ in ways.values()}.values():
        for user, history in enumerate(named_histories):
            recommender.encode_history(f"u{user}", history)
        for where in (ONE_PERCENT, HALF):  # a filter's rows are kept once they are known
            recommender.recommend("u0", where=where)
    times: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for _ in range(0, events, TURN):
        drawn = [(f"u{rng.integers(len(read))}", ids[rng.integers(1, len(ids))]) for _ in range(TURN)]
        for way, (recommender, named) in ways.items():
            for asking, item in drawn:
                start = time.perf_counter()
                recommender.observe_and_recommend(asking, item, k=10, **named)
                times[way].append(time.perf_counter() - start)
    found = []
    for way, (recommender, named) in ways.items():
        median, tenth, p99 = (float(np.quantile(times[way], q) * 1e3) for q in (0.5, 0.1, 0.99))
        found.append(Row(*way, median, tenth, p99, recall(recommender, exact, named_histories, named)))
    return found


def recall(recommender: Recommender, exact: Recommender, read: list[list[str]], named: dict[str, Any]) -> float:
    """Which share of the ten best after each history comes, on average."""
    shares = []
    for history in read:
        lists = (each.recommend_after(history, 10, **named) for each in (recommender, exact))
        found, best = ({entry.item_id for entry in entries} for entries in lists)
        shares.append(len(found & best) / len(best))
    return float(np.mean(shares))


def sizes(bundle: Bundle) -> dict[str, Any]:
    """Bytes in memory (a backend holds the table once, the index is as large as its file), and the index's facts."""
    files = bundle.manifest.files
    table = sum(files[name].bytes for name in (ITEM_TABLE, SCALES) if name in files)
    about = bundle.manifest.index
    assert about is not None
    told = f"{about.kind}, {about.probes} lists a request, recall {about.recall:.4f} of {about.users:,} users"
    return {"bytes": {"table": table, "index": files[INDEX].bytes}, "index": told}


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
