"""What a backend does for the runtime, and how one is found by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import NamedTuple, Protocol, cast

import numpy as np

from deployrec import discovery
from deployrec.bundle.bundle import Bundle
from deployrec.errors import ConfigError, UnknownItemError
from deployrec.extras import missing_extra
from deployrec.files import first_line

NOTHING = np.zeros((1, 1), np.int64)
"""What to exclude [1, E] where nothing is."""

UNSIGNED: dict[int, type[np.unsignedinteger]] = {4: np.uint32, 8: np.uint64}

State = Mapping[str, np.ndarray]
"""State tensors by name, float32 with a batch axis in front."""


class TopK(NamedTuple):
    """The best items, the best first: items [B, K] int64, scores [B, K] float32; 0 and -inf where no more are left."""

    items: np.ndarray
    scores: np.ndarray


class Moved(NamedTuple):
    """Users after events: user [B, D] float32; state tensors [B, ...] by name."""

    user: np.ndarray
    state: dict[str, np.ndarray]


class Backend(Protocol):
    """Runs a bundle's graphs. The arrays of an answer may be overwritten by the next call: copy what is to stay.

    Items are int64 rows of the item table. exclude [B, E], int32 or int64, holds any number E >= 1 of them padded with
    0; None: nothing is left out. A row outside 0..num_items raises UnknownItemError and a k outside 1..num_items
    ConfigError before anything runs. Not safe for calls from two threads at once. `forkable`, where a backend has it,
    is true if it runs on in a forked child: it has no threads of its own and no GPU. `item_table`, where a backend has
    it, is its copy of the item vectors in the host's memory (`deployrec.bundle.table.Table`).
    """

    def advance(self, rows: np.ndarray, state: State) -> Moved:
        """One event of each user: rows [B]. Only for bundles with a step graph, as `step`."""

    def step(
        self, rows: np.ndarray, exclude: np.ndarray | None, k: int, state: State, elapsed: np.ndarray | None = None
    ) -> tuple[Moved, TopK]:
        """`advance`, and the k best items then but for exclude, `elapsed` as for `score`."""

    def encode(self, rows: np.ndarray, lengths: np.ndarray, state: State) -> Moved:
        """Stretches of events: rows [B, T] padded with 0 on the right, lengths [B]; a row of length 0 keeps its state,
        and its user vector means nothing."""

    def score(self, user: np.ndarray, exclude: np.ndarray | None, k: int, elapsed: np.ndarray | None = None) -> TopK:
        """The k best items but for exclude, for user vectors [B, D], which a time-aware bundle takes to the
        moment of the request, `TimeFacts.elapsed`, None where unknown; others do not look."""

    def moment(self, user: np.ndarray, elapsed: np.ndarray | None) -> np.ndarray:
        """User vectors [B, D] at such a request: their products with the items are the scores. Time-aware bundles
        alone have it."""


class InPlace(Protocol):
    """Moves users by one event each in arrays that stay where they are, which their owner fills before a call."""

    def advance(self) -> None:
        """Fills user vectors and states with what `Backend.advance` answers."""

    def step(self, exclude: np.ndarray, k: int, elapsed: np.ndarray | None = None) -> TopK:
        """`advance`, and the k best items then but for exclude [B, E], `elapsed` as for `Backend.score`."""


def in_place(backend: Backend, rows: np.ndarray, past: State, moved: Moved) -> InPlace:
    """Runs of `backend` from rows [B] and past states into `moved`: its own `in_place(rows, past, moved)`, by which it
    may read and write the arrays without copies, or calls whose answers are copied."""
    own = getattr(backend, "in_place", None)
    return Copying(backend, rows, past, moved) if own is None else cast(InPlace, own(rows, past, moved))


class Copying:
    """See `InPlace`; for any backend."""

    def __init__(self, backend: Backend, rows: np.ndarray, past: State, moved: Moved) -> None:
        self._backend, self._rows, self._past, self._moved = backend, rows, past, moved

    def advance(self) -> None:
        self._copy(self._backend.advance(self._rows, self._past))

    def step(self, exclude: np.ndarray, k: int, elapsed: np.ndarray | None = None) -> TopK:
        # A backend that knows nothing of time is not told.
        told = {} if elapsed is None else {"elapsed": elapsed}
        moved, best = self._backend.step(self._rows, exclude, k, self._past, **told)
        self._copy(moved)
        return best

    def _copy(self, moved: Moved) -> None:
        self._moved.user[...] = moved.user
        for name, tensor in self._moved.state.items():
            tensor[...] = moved.state[name]


def check_rows(num_items: int, *arrays: np.ndarray) -> None:
    """Raises UnknownItemError unless all item rows of the integer arrays lie in 0..num_items."""
    for rows in arrays:
        if rows.size == 1 and 0 <= rows.item() <= num_items:
            continue
        # Seen as unsigned, a negative row is a huge one: one pass finds both ends.
        unsigned = rows.view(UNSIGNED[rows.itemsize])
        if rows.size and unsigned.item(place := int(unsigned.argmax())) > num_items:
            wrong = rows.item(place)
            raise UnknownItemError(
                f"expected item rows from 0 to {num_items}; got {wrong}; take rows from this bundle's items.csv"
            )


def check_k(num_items: int, k: int) -> None:
    """Raises ConfigError for a number of items that no list can have."""
    if not 1 <= k <= num_items:
        raise ConfigError(f"expected k from 1 to {num_items}; got {k}; ask for as many items as there are at most")


def check_timeless(bundle: Bundle, backend: str) -> None:
    """Raises ConfigError for a time-aware bundle, of which a backend knows nothing."""
    if bundle.manifest.time:
        raise ConfigError(
            f"expected a bundle that is not time-aware for {backend}; got {bundle.path}, whose scores want the seconds "
            "since the last event; serve it with the backend onnxruntime, or export a model trained without time"
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
