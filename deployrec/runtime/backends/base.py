"""What a backend does for the runtime, and how one is found by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from deployrec import discovery
from deployrec.bundle.bundle import Bundle

State = Mapping[str, np.ndarray]
"""State tensors by name, float32 with a batch axis in front."""


class Output(NamedTuple):
    """What step and encode answer: topk_items [B, K] int64, topk_scores [B, K], user [B, D], state tensors [B, ...]."""

    topk_items: np.ndarray
    topk_scores: np.ndarray
    user: np.ndarray
    state: dict[str, np.ndarray]


class Backend(Protocol):
    """Runs a bundle's graphs. The arrays of an answer may be overwritten by the next call: copy what is to stay.

    items, item ids and exclude are int64 item rows; exclude [B, E] has E >= 1 and is padded with 0. A row outside
    0..num_items raises UnknownItemError before anything runs. Not safe for calls from two threads at once.
    """

    def step(self, items: np.ndarray, exclude: np.ndarray, state: State) -> Output:
        """One event of each user: items [B]. Only for bundles with a step graph."""

    def encode(self, items: np.ndarray, lengths: np.ndarray, exclude: np.ndarray, state: State) -> Output:
        """Rows of events: items [B, T] padded with 0 on the right, lengths [B]."""

    def score(self, user: np.ndarray, exclude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """topk_items and topk_scores [B, K] for user vectors [B, D]."""


def load_backend(name: str, bundle: Bundle, **options: object) -> Backend:
    """Calls `load(bundle, **options)` of the backend's module; raises ConfigError for a name that none has."""
    backend: Backend = discovery.find("backends", name).load(bundle, **options)
    return backend


def backends() -> list[str]:
    """Names of the backends that this installation knows."""
    return discovery.names("backends")
