"""The best items for user vectors: by the graphs where all may come, over the rows of the table where only some may."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.runtime.backends.base import Backend, TopK, check_k

GATHERED = 5
"""Up to one item in so many, the rows that may come are copied out of the table and scored; of more, all are scored and
theirs picked (`python -m benchmarks.catalogue --crossing`)."""


class Ranking:
    """Scores are exact: products of user and item vectors in float32."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._bundle = bundle
        self._backend = backend
        self._num_items = bundle.manifest.num_items

    @cached_property
    def table(self) -> np.ndarray:
        """Item vectors float32 [N + 1, D], zeros in row 0; the backend's own array where it has one."""
        held: np.ndarray | None = getattr(self._backend, "item_table", None)
        return self._bundle.item_table() if held is None else held

    @cached_property
    def lengths(self) -> np.ndarray:
        """float32 [N + 1], of the item vectors; 1 for zeros."""
        found = np.sqrt(np.einsum("nd,nd->n", self.table, self.table))
        return np.where(found > 0, found, 1).astype(np.float32)

    def best(self, user: np.ndarray, exclude: np.ndarray | None, k: int, rows: np.ndarray | None = None) -> TopK:
        """The k best items for user vectors [B, D], among `rows` int32 [n], rising (None: all), but for exclude [B, E].

        Fewer than k columns come back where there are fewer rows; 0 and -inf stand where no more items are left.
        """
        check_k(self._num_items, k)
        if rows is None:
            return self._backend.score(user, exclude, k)
        scores = self.scores(user, rows)
        if exclude is not None:
            _leave_out(scores, rows, exclude)
        return _top(scores, rows, k)

    def similar(self, row: int, exclude: np.ndarray, k: int, rows: np.ndarray) -> TopK:
        """The k items among `rows` of the highest cosine with an item, but for exclude [1, E]."""
        scores = self.scores(self.table[row : row + 1], rows) / (self.lengths[rows] * self.lengths[row])
        _leave_out(scores, rows, exclude)
        return _top(scores, rows, k)

    def scores(self, user: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """float32 [B, n]: scores of the item rows [n] for user vectors [B, D]."""
        if len(rows) * GATHERED <= len(self.table):
            found = user @ self.table.take(rows, axis=0).T
        else:
            found = (user @ self.table.T).take(rows, axis=1)
        return found.astype(np.float32, copy=False)


def _leave_out(scores: np.ndarray, rows: np.ndarray, exclude: np.ndarray) -> None:
    """Sets the scores [B, n] of each user's excluded rows [B or 1, E] to -inf."""
    if not len(rows):
        return
    places = np.searchsorted(rows, exclude).clip(max=len(rows) - 1)
    hit = rows[places] == exclude
    if len(exclude) == 1:
        scores[:, places[hit]] = -np.inf
    else:
        scores[np.nonzero(hit)[0], places[hit]] = -np.inf


def _top(scores: np.ndarray, rows: np.ndarray, k: int) -> TopK:
    """The k best of rows [n] by scores [B, n], the lower row first among equals."""
    k = min(k, len(rows))
    items, values = np.zeros((len(scores), k), np.int64), np.full((len(scores), k), -np.inf, np.float32)
    for line, (best, own) in enumerate(_best_places(scores, k)):
        items[line, : len(best)], values[line, : len(best)] = rows[best], own
    return TopK(items, values)


def _best_places(scores: np.ndarray, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places and scores of the k best of each line that are not left out, the best first."""
    for line in scores:
        least = np.partition(line, len(line) - k)[len(line) - k] if k else np.inf
        among = np.flatnonzero(line >= least)
        best = among[np.lexsort((among, -line[among]))][:k]
        best = best[line[best] > -np.inf]
        yield best, line[best]
