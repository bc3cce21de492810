"""What new items are worth on their first day: hidden from training, added by their columns, and recommended.

    python -m benchmarks.new_items --data ml-1m
    python -m benchmarks.new_items --data ml-1m --run runs/new_items/recblr/20261126-232912

Hides 5 % of the items, drawn evenly, from every history; trains on what is left (or takes that run); exports; adds the
hidden items as `deployrec items add` does, from their columns alone. Then every event with a hidden item is predicted
from the user's history before it: recall@10 and @100 among all items, and @10 among the new ones alone, seen items left
out, beside popularity (of the whole log: more than is known of a new item) and random order. Writes new_items.json.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from deployrec.bundle.bundle import Bundle
from deployrec.data import Dataset, load_dataset
from deployrec.errors import RunError
from deployrec.export.bundle import export_bundle
from deployrec.export.items import add_items
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.reader import Reader
from deployrec.training.runs import Run
from deployrec.training.train import train

HIDDEN = 0.05
MODEL = "recblr"
MOST_EVENTS = 20_000
READ = 64
LONGEST = 2_000
"""Events of the certificate's longest histories."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--run", type=Path, help="a run that this script trained before")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="draws the hidden items")
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser), tempfile.TemporaryDirectory() as scratch:
        dataset = load_dataset(arguments.data)
        hidden = np.random.default_rng(arguments.seed).choice(
            dataset.num_items, int(HIDDEN * dataset.num_items), replace=False
        )
        hidden = np.sort(hidden) + 1
        warm = without(dataset, hidden)
        settings = {"epochs": arguments.epochs}
        run = Run.load(arguments.run) if arguments.run else train(MODEL, warm, settings=settings, root="runs/new_items")
        if run.record["data"]["digest"] != warm.digest:
            raise RunError(f"expected a run on {dataset.name} without these items; got another; leave --run out")
        export_bundle(run.model(), warm, Path(scratch) / "warm", longest=LONGEST)
        new = dataset.items[(hidden - 1).tolist()].drop("popularity")
        added = add_items(Path(scratch) / "warm", new, Path(scratch) / "all")
        rows = measure(added.report.bundle, dataset, hidden)
    assert added.fit is not None
    print(f"{len(hidden):,} of {dataset.num_items:,} items hidden; {run.path}")
    print(f"nearest of held-out items: {added.fit.recall:.3f}, random {added.fit.random:.3f}")
    header = ["order", "recall@10, all items", "recall@100, all items", "recall@10, new items"]
    print(markdown(header, [[name, *(f"{figure:.4f}" for figure in figures)] for name, figures in rows.items()]))
    about = {"machine": machine("cpu"), "data": dataset.name, "hidden": len(hidden), "model": MODEL}
    write_results("new_items", {**about, "columns": header[1:], "rows": rows}, arguments.out or UNTRACKED)


def without(dataset: Dataset, hidden: np.ndarray) -> Dataset:
    """The data set as if the item rows `hidden` had never been."""
    keep = ~np.isin(dataset.events, hidden)
    owners = np.repeat(np.arange(dataset.num_users), np.diff(dataset.offsets))[keep]
    users, items = np.array(dataset.user_ids, object), np.array(dataset.items["item_id"].to_list(), object)
    columns: dict[str, Any] = {
        "user_id": users[owners].tolist(),
        "item_id": items[dataset.events[keep] - 1].tolist(),
        "timestamp": np.flatnonzero(keep),
    }
    return load_dataset(pl.DataFrame(columns), items=dataset.items.drop("popularity"))


def measure(bundle: Bundle, dataset: Dataset, hidden: np.ndarray) -> dict[str, list[float]]:
    """The three recalls of each order."""
    catalogue = bundle.catalogue()
    rows = np.array([0, *(catalogue.rows[item] for item in dataset.items["item_id"].to_list())])
    new = np.zeros(catalogue.num_items + 1, bool)
    new[rows[hidden]] = True
    popularity = np.zeros(catalogue.num_items + 1)
    popularity[rows] = np.r_[0, dataset.items["popularity"].to_numpy()]
    reader, table = Reader(bundle.manifest, load_backend("onnxruntime", bundle)), bundle.item_table()
    random = np.random.default_rng(0)
    orders = ("added by columns", "popularity", "random")
    ranks: dict[str, list[tuple[int, int]]] = {name: [] for name in orders}
    for histories, targets in _batches(dataset, rows, new):
        users = reader.encode([bundle.manifest.newest(history) for history in histories]).user
        by_model = users @ table.T
        for line, (history, target) in enumerate(zip(histories, targets, strict=True)):
            for name, scores in zip(
                orders, (by_model[line], popularity.copy(), random.random(len(table))), strict=True
            ):
                scores[0] = scores[history] = -np.inf
                better = scores > scores[target]
                ranks[name].append((int(better.sum()), int((better & new).sum())))
    found = {name: np.array(each) for name, each in ranks.items()}
    return {
        name: [float(np.mean(each[:, column] < k)) for column, k in ((0, 10), (0, 100), (1, 10))]
        for name, each in found.items()
    }


def _batches(dataset: Dataset, rows: np.ndarray, new: np.ndarray) -> Iterator[tuple[list[np.ndarray], list[int]]]:
    """Histories and the new items that follow them, in rows of the bundle; events drawn evenly where there are many."""
    events = rows[dataset.events]
    owners = np.repeat(np.arange(dataset.num_users), np.diff(dataset.offsets))
    places = np.flatnonzero(new[events])
    places = places[places > dataset.offsets[owners[places]]]
    drawn = np.sort(np.random.default_rng(0).permutation(places)[:MOST_EVENTS])
    lengths = drawn - dataset.offsets[owners[drawn]]
    drawn = drawn[np.argsort(lengths, kind="stable")]
    for start in range(0, len(drawn), READ):
        part = drawn[start : start + READ]
        histories = [events[dataset.offsets[owners[place]] : place] for place in part]
        # Read again, an item stays seen: what has come before is never the answer.
        fresh = [
            n for n, (place, history) in enumerate(zip(part, histories, strict=True)) if events[place] not in history
        ]
        if fresh:
            yield [histories[n] for n in fresh], [int(events[part[n]]) for n in fresh]


if __name__ == "__main__":
    main()
