"""Cuts users' histories into training windows and batches them by length under a token budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deployrec.data import SplitView


class WindowBatch(NamedTuple):
    """Right-padded windows: targets[b, t] is the event after items[b, t]; both are 0 from lengths[b] on.

    `earlier` holds the user's events before each window; rows `carried` [R] start from the state after them, the
    others from zeros. elapsed[b, t], float32, of a time-aware model, is what it is told when targets[b, t] is asked
    for. All other tensors are int64.
    """

    items: Tensor
    targets: Tensor
    lengths: Tensor
    carried: Tensor
    earlier: list[np.ndarray]
    elapsed: Tensor | None = None


@dataclass(frozen=True)
class Windows:
    """Windows over the flat event array: window w reads events[start[w]:end[w]] and predicts the event after each.

    `first` is where the window's user begins.
    """

    first: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.start)


def cut_windows(starts: np.ndarray, stops: np.ndarray, window: int, rng: np.random.Generator) -> Windows:
    """Cuts every user's history events[starts[u]:stops[u]] into windows of at most `window` events.

    Every event but a user's first is predicted exactly once. A history that fits stays whole; a longer one is cut at
    a random phase, so that over the epochs each position gets contexts of every length.
    """
    inputs = np.maximum(stops - starts - 1, 0)
    phase = rng.integers(1, window + 1, size=len(inputs))
    head = np.where(inputs > window, phase, inputs)
    count = np.where(inputs > 0, 1 + -(-(inputs - head) // window), 0)
    user = np.repeat(np.arange(len(inputs)), count)
    number = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    start = np.where(number == 0, 0, head[user] + (number - 1) * window)
    end = np.where(number == 0, head[user], np.minimum(start + window, inputs[user]))
    return Windows(starts[user], starts[user] + start, starts[user] + end)


class WindowBatches:
    """One epoch of batches: windows of like length together, at most `tokens` padded events a batch, random order.

    The same (seed, epoch) gives the same batches; the first `done` of them, which an interrupted run has had, are left
    out but counted. With probability `carried_state` a window that does not begin its user's history starts from the
    state of everything before it. `asked` [M] or [M, 2] is what a time-aware model is told of each event
    of the data set.
    """

    def __init__(
        self,
        view: SplitView,
        window: int,
        tokens: int,
        carried_state: float,
        seed: int,
        epoch: int,
        done: int = 0,
        asked: np.ndarray | None = None,
    ) -> None:
        self._done = done
        rng = np.random.default_rng([seed, epoch])
        self._events, self._asked = view.dataset.events, asked
        self._windows = cut_windows(view.starts, view.stops, window, rng)
        self._carried = (self._windows.start > self._windows.first) & (rng.random(len(self._windows)) < carried_state)
        self._batches = length_batches(self._windows.end - self._windows.start, tokens, rng)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[WindowBatch]:
        for rows in self._batches[self._done :]:
            start, end = self._windows.start[rows], self._windows.end[rows]
            yield WindowBatch(
                pad(self._events, start, end),
                pad(self._events, start + 1, end + 1),
                torch.from_numpy(end - start),
                torch.from_numpy(np.flatnonzero(self._carried[rows])),
                [self._events[a:b] for a, b in zip(self._windows.first[rows], start, strict=True)],
                None if self._asked is None else pad(self._asked, start + 1, end + 1),
            )


def length_batches(
    lengths: np.ndarray, tokens: int, rng: np.random.Generator | None = None, max_rows: int | None = None
) -> list[np.ndarray]:
    """Index arrays that cover all rows once; rows * longest <= tokens unless one row alone is longer.

    Longest batch first; with `rng`, rows of one length are mixed and the batches come in random order.
    """
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = order[np.argsort(-lengths[order], kind="stable")]
    batches: list[np.ndarray] = []
    at = 0
    while at < len(order):
        rows = max(1, tokens // max(1, int(lengths[order[at]])))
        rows = rows if max_rows is None else min(rows, max_rows)
        batches.append(order[at : at + rows])
        at += rows
    return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]


def pad(events: np.ndarray, start: np.ndarray, end: np.ndarray) -> Tensor:
    """events[start[b]:end[b]] as rows of a tensor [B, longest, ...], right-padded with 0."""
    lengths = end - start
    width = int(lengths.max()) if len(lengths) else 0
    position = np.arange(width)
    index = np.minimum(start[:, None] + position, len(events) - 1)
    inside = (position < lengths[:, None]).reshape(*index.shape, *[1] * (events.ndim - 1))
    return torch.from_numpy(np.where(inside, events[index], 0))
