"""Builds the index of a large catalogue into a bundle, and measures what it finds of the exact lists."""

from __future__ import annotations

import math
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from deployrec.bundle.manifest import INDEX, INDEX_USERS, IndexFacts
from deployrec.errors import ConfigError
from deployrec.runtime.index import FETCHED, Index, library

WANTED_RECALL = 0.965
"""Of the ten best items, on average over users: as few lists are searched as reach it."""
K = 10
LISTS = 1.5
"""Times the root of the number of items: so many lists, but LEAST_LISTS."""
LEAST_LISTS = 16
"""Centres are kept in half a byte a number too, which is fitted on as many."""
TRAINED_ON = 100
"""Items for each centre that the centres are fitted on, at most."""
BLOCK = 64
"""Users of one product with the whole table."""


def write_index(table: np.ndarray, users: np.ndarray, folder: Path, retired: np.ndarray) -> dict[str, Any]:
    """Writes index.faiss over the item table float32 [N + 1, D], without row 0 and the `retired` rows, and the user
    vectors [U, D] that it was measured on; returns the manifest's entry. Raises ConfigError for a handful of items."""
    faiss = library()
    offered = np.ones(len(table), bool)
    offered[0] = offered[retired] = False
    rows = np.flatnonzero(offered)
    if len(rows) < LEAST_LISTS:
        raise ConfigError(f"expected at least {LEAST_LISTS} items for an index; got {len(rows)}; leave --index out")
    lists, codes = max(LEAST_LISTS, round(LISTS * math.sqrt(len(rows)))), f"PQ{table.shape[1]}x4fs"
    kind = f"IVF{lists}({codes}),{codes}"
    index = faiss.index_factory(table.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    for clustering in (index.cp, index.pq.cp, faiss.downcast_index(index.quantizer).pq.cp):
        clustering.min_points_per_centroid = 1  # small catalogues have fewer than faiss would like, and says so aloud
        clustering.seed = 0
    drawn = np.random.default_rng(0).permutation(rows)[: TRAINED_ON * lists]
    index.train(table[drawn])
    index.add_with_ids(table[rows], rows)
    faiss.serialize_index(index).tofile(folder / INDEX)
    np.save(folder / INDEX_USERS, users.astype(np.float32))
    exact = best_rows(table, users, offered, K)
    probes = 1
    while (
        recall := recall_at_k(Index(index, probes, len(table) - 1), table, users, exact)
    ) < WANTED_RECALL and probes < lists:
        probes = min(probes + 1 + probes // 8, lists)
    facts = IndexFacts(kind, probes, recall, len(users), f"faiss-cpu {version('faiss-cpu')}")
    return asdict(facts)


def best_rows(table: np.ndarray, users: np.ndarray, offered: np.ndarray, k: int) -> np.ndarray:
    """The exact rows [U, k] of the highest products, in no order."""
    k, found = min(k, int(offered.sum())), []
    for start in range(0, len(users), BLOCK):
        scores = users[start : start + BLOCK] @ table.T
        scores[:, ~offered] = -np.inf
        found.append(np.argpartition(-scores, k - 1, axis=1)[:, :k])
    return np.concatenate(found)


def recall_at_k(index: Index, table: np.ndarray, users: np.ndarray, exact: np.ndarray) -> float:
    """Which share of the exact rows [U, K] the K best candidates of the index are."""
    k, hits = exact.shape[1], 0
    candidates = index.candidates(users, FETCHED)
    for user, rows, best in zip(users, candidates, exact, strict=True):
        rows = rows[rows > 0]
        scores = table[rows] @ user
        hits += len(np.intersect1d(rows[np.argsort(-scores)[:k]], best))
    return hits / exact.size
