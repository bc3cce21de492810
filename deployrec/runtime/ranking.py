"""The best items for user vectors: by the graphs where all may come, over the rows of the table where only some may."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.table import Table
from deployrec.runtime.backends.base import NOTHING, Backend, TopK, check_k
from deployrec.runtime.choice import Choice
from deployrec.runtime.index import FETCHED, Index

GATHERED = 5
"""Up to one item in so many, the rows that may come are copied out of the table and scored; of more, all are scored and
theirs picked (`python -m benchmarks.catalogue --crossing`)."""
EXACT = 20
"""Up to one item in so many, the rows that may come are all scored although there is an index."""


class Ranking:
    """Scores are products of user and item vectors in float32, and lists exact unless an index finds the candidates."""

    def __init__(self, bundle: Bundle, backend: Backend, retired: np.ndarray, index: Index | None = None) -> None:
        """retired: rows int32 [m] that never come."""
        self._bundle = bundle
        self._narrow = bundle.manifest.table.dtype != "float32"
        self._retired = retired
        self._backend = backend
        self._num_items = bundle.manifest.num_items
        self.index = index

    def in_graph(self, choice: Choice | None) -> bool:
        """Whether the graphs themselves answer."""
        return self.index is None and not self._narrow and (choice is None or choice.rows is None)

    @cached_property
    def table(self) -> Table:
        """The item vectors; the backend's own where it has them."""
        held: Table | None = getattr(self._backend, "item_table", None)
        return self._bundle.stored_table() if held is None else held

    @cached_property
    def _all(self) -> np.ndarray:
        """int32: the rows that may come."""
        return np.setdiff1d(np.arange(1, self._num_items + 1, dtype=np.int32), self._retired)

    @cached_property
    def lengths(self) -> np.ndarray:
        """float32 [N + 1], of the item vectors; 1 for zeros."""
        found = np.linalg.norm(self.table.floats(), axis=1)
        return np.where(found > 0, found, 1).astype(np.float32)

    def at(self, user: np.ndarray, elapsed: np.ndarray | None) -> np.ndarray:
        """User vectors [B, D] as they are scored: of a time-aware bundle those at `elapsed` (see
        `Backend.score`), of another as they are."""
        return user if elapsed is None else self._backend.moment(user, elapsed)

    def best(
        self,
        user: np.ndarray,
        exclude: np.ndarray | None,
        k: int,
        rows: np.ndarray | None = None,
        elapsed: np.ndarray | None = None,
    ) -> TopK:
        """The k best items for user vectors [B, D], among `rows` int32 [n], rising (None: all), but for exclude [B, E];
        of a time-aware bundle asked at `elapsed` (see `Backend.score`).

        Fewer than k columns come back where there are fewer rows; 0 and -inf stand where no more items are left.
        """
        check_k(self._num_items, k)
        exclude = NOTHING if exclude is None else exclude
        few = rows is not None and len(rows) * EXACT <= len(self.table)
        if self.index is not None and not few:
            return self._near(self.index, user, exclude, k, rows, elapsed)
        return self._exact(user, exclude, k, rows, elapsed)

    def _exact(
        self, user: np.ndarray, exclude: np.ndarray, k: int, rows: np.ndarray | None, elapsed: np.ndarray | None
    ) -> TopK:
        if rows is None and not self._narrow:
            if elapsed is None:
                return self._backend.score(user, exclude, k)
            return self._backend.score(user, exclude, k, elapsed)
        rows = self._all if rows is None else rows
        scores = self.scores(self.at(user, elapsed), rows)
        _leave_out(scores, rows, exclude)
        return _top(scores, np.broadcast_to(rows, scores.shape), k)

    def _near(
        self,
        index: Index,
        user: np.ndarray,
        exclude: np.ndarray,
        k: int,
        rows: np.ndarray | None,
        elapsed: np.ndarray | None,
    ) -> TopK:
        """By the index: candidates to spare for those that are left out, more for whom too few of them are left, and
        exact where even so there are too few."""
        number = max(FETCHED, 2 * k)
        most = number + exclude.shape[1]
        if 4 * most > self._num_items:
            return self._exact(user, exclude, k, rows, elapsed)
        asked = self.at(user, elapsed)
        offered, share = None, 1.0
        if rows is not None:
            offered, share = np.zeros(self._num_items + 1, bool), len(rows) / self._num_items
            offered[rows] = True
        lines = []
        for line, found in enumerate(index.candidates(asked, min(2 * number, most), share, offered)):
            own = exclude[line % len(exclude)]
            best = self._rescored(asked[line], found, own, k)
            if len(best[0]) < k and most > 2 * number:
                (found,) = index.candidates(asked[line : line + 1], most, share, offered)
                best = self._rescored(asked[line], found, own, k)
            if len(best[0]) < k:
                alone = None if elapsed is None else elapsed[line : line + 1]
                exact = self._exact(user[line : line + 1], own[None], k, rows, alone)
                best = exact.items[0], exact.scores[0]
            lines.append(best)
        if len(lines) == 1:  # for a single request np.stack's own code takes its time
            return TopK(best[0][None], best[1][None])
        return TopK(*map(np.stack, zip(*lines, strict=True)))

    def _rescored(
        self, user: np.ndarray, found: np.ndarray, left_out: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of rows [n] that were found, the k best by their exact scores with a user vector [D], but for some rows."""
        if found[-1] < 0:
            found = found[found >= 0]
        scores, sought = self.table.take(found) @ user, np.sort(left_out)
        for most in (3 * k, len(found)):  # few are left out of the first, as a rule
            some = _highest(scores, most)
            rows = found[some]
            left = sought.take(sought.searchsorted(rows), mode="clip") != rows
            if np.count_nonzero(left) >= k:
                break
        rows, scores = rows[left], scores[some][left]
        best = np.lexsort((rows, -scores))[:k]
        return rows[best], scores[best]

    def similar(self, row: int, exclude: np.ndarray, k: int, rows: np.ndarray) -> TopK:
        """The k items among `rows` of the highest cosine with an item, but for exclude [1, E]."""
        scores = self.scores(self.table.take(np.array([row])), rows) / (self.lengths[rows] * self.lengths[row])
        _leave_out(scores, rows, exclude)
        return _top(scores, rows[None], k)

    def scores(self, user: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """float32 [B, n]: scores of the item rows [n] for user vectors [B, D]."""
        if len(rows) * GATHERED <= len(self.table):
            return (user @ self.table.take(rows).T).astype(np.float32, copy=False)
        return self.table.products(user).take(rows, axis=1)


def _highest(scores: np.ndarray, most: int) -> np.ndarray:
    """Places of the `most` highest of scores [n], and of those that equal the last of them."""
    least = max(0, len(scores) - most)
    return np.flatnonzero(scores >= np.partition(scores, least)[least]) if least else np.arange(len(scores))


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
    """The k best of rows [B, n], each line rising, by scores [B, n]; the lower row first among equals."""
    k = min(k, rows.shape[1])
    items, values = np.zeros((len(scores), k), np.int64), np.full((len(scores), k), -np.inf, np.float32)
    for line, best in enumerate(_best_places(scores, k)):
        items[line, : len(best)], values[line, : len(best)] = rows[line, best], scores[line, best]
    return TopK(items, values)


def _best_places(scores: np.ndarray, k: int) -> Iterator[np.ndarray]:
    """Places of the k best of each line that are not left out, the best first, the lower place among equals."""
    for line in scores:
        least = np.partition(line, len(line) - k)[len(line) - k] if k else np.inf
        among = np.flatnonzero(line >= least)
        best = among[np.argsort(-line[among], kind="stable")][:k]
        yield best[line[best] > -np.inf]
