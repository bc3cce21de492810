"""A large catalogue made of a trained one: clones of each item around it, so that clusters and users are real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from deployrec.benchmark.bundles import resized_bundle
from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.manifest import ITEMS
from deployrec.bundle.table import Table
from deployrec.data import Dataset, write_items
from deployrec.export.narrow import write_table
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.reader import Reader

SPREAD = 0.5
"""Of a clone around its item, as a share of the spread of all items around their mean."""
BUCKETS = 100
"""Values of the column `bucket`, each of as many items."""
READ = 64


def large_bundle(bundle: Bundle, num_items: int, folder: Path, seed: int = 0) -> tuple[Bundle, np.ndarray]:
    """`bundle` over `num_items` items in the new `folder`, and int64 [N + 1], which of its items each is a clone of.

    An item has clones by the root of its popularity; all its own graphs and weights stay.
    """
    rng, table = np.random.default_rng(seed), bundle.item_table()
    weights = np.sqrt(bundle.catalogue().popularity[1:] + 1.0)
    others = rng.choice(bundle.manifest.num_items, num_items - bundle.manifest.num_items, p=weights / weights.sum())
    source = np.concatenate([np.arange(bundle.manifest.num_items + 1), others + 1])
    spread = SPREAD * table[1:].std(0)
    large = table[source] + spread * rng.standard_normal((num_items + 1, table.shape[1]), np.float32)
    large[: len(table)] = table
    made = resized_bundle(bundle, num_items, folder)
    write_table(Table.rounded(large.astype(np.float32), made.manifest.table.dtype), folder)
    rows = np.arange(1, num_items + 1)
    columns = {"item_id": [f"i{row}" for row in rows], "title": [f"Item {row}" for row in rows]}
    buckets = rng.permutation(rows) % BUCKETS
    write_items(pl.DataFrame({**columns, "popularity": num_items - rows, "bucket": map(str, buckets)}), folder / ITEMS)
    seal(folder, made.manifest.document)
    return Bundle.open(folder), source


def histories(dataset: Dataset, source: np.ndarray, users: int, seed: int = 0) -> list[np.ndarray]:
    """Real histories, evenly from the shortest to the longest, each item by one of its clones."""
    rng = np.random.default_rng(seed)
    order = np.argsort(source, kind="stable")
    first = np.searchsorted(source[order], np.arange(dataset.num_items + 2))
    by_length = np.argsort(np.diff(dataset.offsets), kind="stable")
    found = []
    for user in by_length[np.linspace(0, dataset.num_users - 1, users).astype(int)].tolist():
        rows = dataset.history(user)
        place = first[rows] + (rng.random(len(rows)) * (first[rows + 1] - first[rows])).astype(int)
        found.append(order[place])
    return found


def user_vectors(bundle: Bundle, read: list[np.ndarray]) -> np.ndarray:
    """float32 [U, D] after the histories."""
    reader = Reader(bundle.manifest, load_backend("onnxruntime", bundle))
    newest = [bundle.manifest.newest(rows) for rows in read]
    return np.concatenate([reader.encode(newest[at : at + READ]).user.copy() for at in range(0, len(newest), READ)])
