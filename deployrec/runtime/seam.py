"""Backends whose graphs still score at every event, called as the runtime calls; goes once they can advance."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from deployrec.errors import ConfigError
from deployrec.runtime.backends.base import State


class TopK(NamedTuple):
    """items [B, K] int64, 0 where there are no more; scores [B, K] float32."""

    items: np.ndarray
    scores: np.ndarray


class Moved(NamedTuple):
    """user [B, D]; state tensors [B, ...] by name."""

    user: np.ndarray
    state: dict[str, np.ndarray]


def moving(backend: Any, top_k: int) -> Any:
    """The backend, or an adapter to it."""
    return backend if hasattr(backend, "advance") else _Moving(backend, top_k)


class _Moving:
    def __init__(self, backend: Any, top_k: int) -> None:
        self.backend = backend
        self.top_k = top_k

    def advance(self, rows: np.ndarray, state: State) -> Moved:
        found = self.backend.step(rows, None, state)
        return Moved(found.user, found.state)

    def step(self, rows: np.ndarray, exclude: np.ndarray, k: int, state: State) -> tuple[Moved, TopK]:
        self._check(k)
        found = self.backend.step(rows, exclude, state)
        return Moved(found.user, found.state), TopK(found.topk_items[:, :k], found.topk_scores[:, :k])

    def encode(self, rows: np.ndarray, lengths: np.ndarray, state: State) -> Moved:
        found = self.backend.encode(rows, lengths, None, state)
        return Moved(found.user, found.state)

    def score(self, user: np.ndarray, exclude: np.ndarray, k: int) -> TopK:
        self._check(k)
        items, scores = self.backend.score(user, exclude)
        return TopK(items[:, :k], scores[:, :k])

    def _check(self, k: int) -> None:
        if k > self.top_k:
            raise ConfigError(
                f"expected k from 1 to {self.top_k}; got {k}; export the bundle with a larger top-k for longer lists"
            )
