"""Floors that a trained model must beat: popularity, bigram and the 5-lag Markov chain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from deployrec.data import SplitView
from deployrec.time_units import DAY, PER_SECOND

TIE_BREAK = 1e-9
FLOORS = ("popularity", "bigram", "5-lag Markov")
"""Names of the baselines that every evaluation has beside the model."""
RECENT_DAYS = 7
RECENT = f"popularity, {RECENT_DAYS} days"
"""The floor of evaluations after a moment."""


class Popularity:
    """Every user gets the items' training counts."""

    name = "popularity"
    chunk = 1

    def __init__(self, train: SplitView) -> None:
        self._counts = torch.from_numpy(item_counts(train)).double()
        self._counts[0] = -torch.inf

    def scores(self, histories: Sequence[np.ndarray], elapsed: np.ndarray | None = None) -> Tensor:
        return self._counts.expand(len(histories), -1)


class RecentPopularity:
    """Every user gets the items' counts of the last RECENT_DAYS before training ended; popularity orders equal ones."""

    name = RECENT
    chunk = 1

    def __init__(self, train: SplitView, moment: int) -> None:
        """`moment`, in the log's unit: when training ended. Raises ConfigError for a log without times."""
        dataset = train.dataset
        times = dataset.clock()
        recent = (times < moment) & (times >= moment - RECENT_DAYS * DAY * PER_SECOND[dataset.time_unit])
        counts = item_counts(train)
        newest = np.bincount(dataset.events[recent], minlength=len(counts))
        self._counts = torch.from_numpy(newest + TIE_BREAK * counts)
        self._counts[0] = -torch.inf

    def scores(self, histories: Sequence[np.ndarray], elapsed: np.ndarray | None = None) -> Tensor:
        return self._counts.expand(len(histories), -1)


class Markov:
    """Transition counts at lags 1..L weighted 1/lag, as shares of each item's total, over the last L items.

    An item `age` events before the last one counts decay ** age. Popularity orders what the chain scores alike, above
    all the items it has never seen follow. lags=1 is the bigram.
    """

    chunk = 1

    def __init__(self, train: SplitView, lags: int = 5, decay: float = 0.5) -> None:
        self.name = "bigram" if lags == 1 else f"{lags}-lag Markov"
        self._lags, self._decay, self._width = lags, decay, train.dataset.num_items + 1
        counts = item_counts(train)
        self._tie_break = TIE_BREAK * counts / counts.sum()
        self._tie_break[0] = -np.inf
        keys, weights = zip(*(_transitions(train, lag) for lag in range(1, lags + 1)), strict=True)
        pairs, index = np.unique(np.concatenate(keys), return_inverse=True)
        weight = np.bincount(index, np.concatenate(weights), minlength=len(pairs))
        item, self._next = pairs // self._width, pairs % self._width
        self._share = weight / np.bincount(item, weight, minlength=self._width)[item]
        self._row = np.searchsorted(item, np.arange(self._width + 1))

    def scores(self, histories: Sequence[np.ndarray], elapsed: np.ndarray | None = None) -> Tensor:
        scores = np.tile(self._tie_break, (len(histories), 1))
        for row, history in zip(scores, histories, strict=True):
            for age, item in enumerate(history[: -self._lags - 1 : -1]):
                entries = slice(self._row[item], self._row[item + 1])
                row[self._next[entries]] += self._decay**age * self._share[entries]
        return torch.from_numpy(scores)


def item_counts(train: SplitView) -> np.ndarray:
    """Training events of each item, int64 [N + 1] with 0 for padding."""
    events, _ = _flat(train)
    return np.bincount(events, minlength=train.dataset.num_items + 1)


def _transitions(train: SplitView, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys item * (N + 1) + later item of all training pairs `lag` events apart, and their weights 1 / lag."""
    events, users = _flat(train)
    same = users[:-lag] == users[lag:]
    keys = events[:-lag][same] * (train.dataset.num_items + 1) + events[lag:][same]
    return keys, np.full(len(keys), 1 / lag)


def _flat(train: SplitView) -> tuple[np.ndarray, np.ndarray]:
    """All training events, user after user, and the row of the view that each belongs to."""
    return train.dataset.events[train.places()], np.repeat(np.arange(len(train)), train.stops - train.starts)
