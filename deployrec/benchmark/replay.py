"""Real sessions to replay: the same seed gives the same users, histories and next events."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from deployrec.benchmark.config import Point
from deployrec.data import Dataset

AHEAD = 64
"""Events that follow a history."""


class Sessions(NamedTuple):
    """Item rows, all int64: `history` [B, T], the `item` [B] that follows it, the seen ones to `exclude` [B, E], and
    the events `following` the history [B, AHEAD], of which `item` is the first."""

    history: np.ndarray
    item: np.ndarray
    exclude: np.ndarray
    following: np.ndarray


class Replay:
    """Draws stretches of users' histories; where none is long enough, of histories one after the other."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.lengths = np.diff(dataset.offsets)

    def sessions(self, point: Point, number: int = 0) -> Sessions:
        """The sessions of a point; another `number` gives others. Excluded is all that was seen."""
        rng = np.random.default_rng([self.seed, point.history, point.batch, number])
        size = point.history + 1
        owners = np.flatnonzero(self.lengths >= size)
        if len(owners):
            users = rng.choice(owners, point.batch)
            first, length = self.dataset.offsets[users], self.lengths[users]
        else:
            first, length = np.zeros(point.batch, np.int64), np.full(point.batch, len(self.dataset.events))
        starts = rng.integers(0, length - size + 1 if len(owners) else length)
        # After a user's last event come the first ones again.
        places = first[:, None] + (starts[:, None] + np.arange(point.history + AHEAD)) % length[:, None]
        rows = spread(self.dataset.events[places], self.dataset.num_items, point.catalogue)
        return Sessions(
            np.ascontiguousarray(rows[:, : point.history]),
            np.ascontiguousarray(rows[:, point.history]),
            _distinct(rows[:, :size]),
            np.ascontiguousarray(rows[:, point.history :]),
        )


def _distinct(rows: np.ndarray) -> np.ndarray:
    """The distinct item rows of each line, padded with 0."""
    found = [np.unique(line) for line in rows]
    exclude = np.zeros((len(rows), max(map(len, found))), np.int64)
    for line, seen in zip(exclude, found, strict=True):
        line[: len(seen)] = seen
    return exclude


def spread(rows: np.ndarray, num_items: int, catalogue: int) -> np.ndarray:
    """Item rows 1..num_items placed evenly in a catalogue of another size; a smaller one makes items coincide."""
    if catalogue >= num_items:
        return 1 + (rows - 1) * catalogue // num_items
    return 1 + (rows - 1) % catalogue
