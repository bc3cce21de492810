"""What a backend does for the runtime, and how one is found by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from deployrec import discovery
from deployrec.bundle.bundle import Bundle
from deployrec.errors import ConfigError, UnknownItemError
from deployrec.extras import missing_extra
from deployrec.files import first_line

NOTHING = np.zeros((1, 1), np.int64)
"""What to exclude [1, E] where nothing is."""

UNSIGNED = {4: np.uint32, 8: np.uint64}

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

    Items are int64 rows of the item table. exclude [B, E], int32 or int64, holds any number E >= 1 of them padded with
    0; it is None where nobody wants a top-k: the answer's then means nothing. A row outside 0..num_items raises
    UnknownItemError before anything runs. Not safe for calls from two threads at once. `forkable`, where a
    backend has it, is true if it runs on in a forked child: it has no threads of its own and no GPU.
    """

    def step(self, rows: np.ndarray, exclude: np.ndarray | None, state: State) -> Output:
        """One event of each user: rows [B]. Only for bundles with a step graph."""

    def encode(self, rows: np.ndarray, lengths: np.ndarray, exclude: np.ndarray | None, state: State) -> Output:
        """Stretches of events: rows [B, T] padded with 0 on the right, lengths [B]."""

    def score(self, user: np.ndarray, exclude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """topk_items and topk_scores [B, K] for user vectors [B, D]."""


def check_rows(num_items: int, *arrays: np.ndarray) -> None:
    """Raises UnknownItemError unless all item rows of the integer arrays lie in 0..num_items."""
    for rows in arrays:
        if rows.size == 1 and 0 <= rows.item() <= num_items:
            continue
        # Seen as unsigned, a negative row is a huge one: one pass finds both ends.
        if rows.size and int(np.maximum.reduce(rows.view(UNSIGNED[rows.itemsize]), axis=None)) > num_items:
            wrong = rows[(rows < 0) | (rows > num_items)].flat[0]
            raise UnknownItemError(
                f"expected item rows from 0 to {num_items}; got {wrong}; take rows from this bundle's items.csv"
            )


def load_backend(name: str, bundle: Bundle, /, **options: object) -> Backend:
    """Calls `load(bundle, **options)` of the backend's module.

    Raises ConfigError for a name that none has, a package that is missing or broken, and an option that is not taken.
    """
    try:
        load = discovery.find("backends", name).load
    except ImportError as error:
        missing = missing_extra(error) if isinstance(error, ModuleNotFoundError) else None
        raise missing or ConfigError(
            f"expected the backend {name} to be imported; got {first_line(error)}; install its package again"
        ) from None
    taken = inspect.signature(load).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        for option in set(options) - set(list(taken)[1:]):
            known = ", ".join(list(taken)[1:]) or "none"
            raise ConfigError(f"expected options of the backend {name} ({known}); got '{option}'; leave it out")
    backend: Backend = load(bundle, **options)
    return backend


def backends() -> list[str]:
    """Names of the backends that this installation knows."""
    return discovery.names("backends")
