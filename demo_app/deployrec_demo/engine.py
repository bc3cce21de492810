"""A bundle with an open backend, as the demo calls it: one user at a time, from several browser sessions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.catalogue import Catalogue
from deployrec.bundle.parity import ParityCases
from deployrec.runtime.backends.base import Moved, TopK, load_backend
from deployrec.runtime.reader import Reader
from deployrec_demo.shelf import Shelf

State = dict[str, np.ndarray]
"""State tensors [1, ...] of one user, by name."""
SHOWN = 100
"""Items of a list, which the page can leaf through."""


class Output(NamedTuple):
    """A user after an event: the best items and their scores [1, K], user vector [1, D], state tensors [1, ...]."""

    topk_items: np.ndarray
    topk_scores: np.ndarray
    user: np.ndarray
    state: State


class Engine:
    """Calls from several threads wait for each other; every array of an answer is the caller's own."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.backend = load_backend("onnxruntime", bundle, threads=1)
        self.reader = Reader(self.manifest, self.backend)
        self.window = self.manifest.window
        self.k = min(SHOWN, self.manifest.num_items)
        self.lock = threading.RLock()

    @cached_property
    def catalogue(self) -> Catalogue:
        return self.bundle.catalogue()

    @cached_property
    def shelf(self) -> Shelf:
        return Shelf.of(self.catalogue)

    @cached_property
    def cases(self) -> ParityCases:
        """Histories of the certificate; a bundle made only to be timed has none."""
        return self.bundle.cases()

    @classmethod
    def load(cls, path: str | Path) -> Engine:
        """Opens a bundle after checking every digest; raises BundleError for one that is not as export wrote it."""
        engine = cls(Bundle.open(path))
        # All of it is read now: the folder may be moved away while the page is open.
        _ = engine.shelf, engine.cases
        return engine

    def empty_state(self) -> State:
        """Zeros: a user without events."""
        return self.manifest.state.zeros(1)

    def can_step(self, events: int) -> bool:
        """Whether a step may carry on the state of a user with `events` events in all, the new one included."""
        return self.reader.has_step and self.reader.carries(events)

    def step(self, row: int, exclude: np.ndarray, state: State) -> Output:
        """One event; exclude [1, E]."""
        with self.lock:
            return _own(*self.backend.step(np.array([row]), exclude, self.k, state))

    def encode(self, rows: Sequence[int], exclude: np.ndarray) -> Output:
        """A whole history of at least one event from the start, in chunks; the newest window where that is all."""
        read = self.manifest.newest(np.array(rows, np.int64))
        with self.lock:
            moved = self.reader.encode([read])
            return _own(moved, self.backend.score(moved.user, exclude, self.k))

    def best(self, user: np.ndarray, exclude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Top-k items and scores [K] for a user vector [1, D]."""
        with self.lock:
            items, scores = self.backend.score(user, exclude, self.k)
            return items[0].copy(), scores[0].copy()

    def after(self, row: int, rows: Sequence[int], state: State, exclude: np.ndarray) -> Output:
        """One more event, `row` being the last of `rows`: a step from the state before it, or the window read again."""
        return self.step(row, exclude, state) if self.can_step(len(rows)) else self.encode(rows, exclude)

    def rank(self, user: np.ndarray, row: int, exclude: np.ndarray) -> int:
        """The place of an item among all that are not excluded, from 1, for a user vector [1, D]."""
        with self.lock:
            items, _ = self.backend.score(user, exclude, self.manifest.num_items)
            return 1 + int(np.flatnonzero(items[0] == row)[0])

    def real_histories(self) -> list[np.ndarray]:
        """Item rows of real users of the training data, the shortest history first."""
        whole = [
            case for case, name in enumerate(self.cases.names) if name == "a user's" and self.cases.lengths[case] > 1
        ]
        return [self.cases.history(case) for case in whole]


def _own(moved: Moved, best: TopK) -> Output:
    state = {name: tensor.copy() for name, tensor in moved.state.items()}
    return Output(best.items.copy(), best.scores.copy(), moved.user.copy(), state)
