"""The one reader: moves states over events, in chunks through encode or event by event."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deployrec.bundle.manifest import Manifest
from deployrec.runtime.backends.base import Backend, Moved, State, TopK


class Reader:
    """Reads item rows into states. As those of a backend, arrays of an answer may be overwritten by the next call.

    Histories are int64 item rows [n], oldest first, none empty; states [B, ...] by tensor name, None for zeros.
    """

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        self.manifest = manifest
        self.backend = backend
        self.window = manifest.window
        self.has_step = "step" in manifest.graphs

    def carries(self, num_events: int) -> bool:
        """Whether the state of a user is exact after so many events in all; if not, the newest `window` of them are
        read from the start."""
        return not self.window or (self.has_step and num_events <= self.window)

    def encode(self, histories: Sequence[np.ndarray], state: State | None = None) -> Moved:
        """After the histories, each carried on from its state: the encode graph over one chunk of every unfinished
        history at a time."""
        state = self.manifest.state.zeros(len(histories)) if state is None else state
        chunk = self.manifest.encode_chunk
        if max(map(len, histories)) <= chunk:
            return self.backend.encode(*_padded(histories), state)
        order = _longest_first(histories)
        answer = _Answer(self.manifest, state, order)
        for begin in range(0, len(histories[order[0]]), chunk):
            parts = [part for place in order if len(part := histories[place][begin : begin + chunk])]
            answer.take(0, self.backend.encode(*_padded(parts), answer.past(0, len(parts))))
        return answer.in_order()

    def steps(self, histories: Sequence[np.ndarray], state: State | None = None) -> Moved:
        """The same event by event, one of every unfinished history at a time."""
        return self._waves(histories, state, None, 0, None)[0]

    def steps_and_lists(
        self,
        histories: Sequence[np.ndarray],
        state: State | None,
        exclude: np.ndarray,
        k: int,
        elapsed: np.ndarray | None = None,
    ) -> tuple[Moved, TopK]:
        """`steps`, the last of each history with the k best items but for exclude [B, E], asked at
        `elapsed` (of a time-aware bundle, see `Backend.score`)."""
        moved, best = self._waves(histories, state, exclude, k, elapsed)
        assert best is not None
        return moved, best

    def one_each(
        self,
        rows: np.ndarray,
        state: State,
        exclude: np.ndarray | None = None,
        k: int = 0,
        elapsed: np.ndarray | None = None,
    ) -> tuple[Moved, TopK | None]:
        """One event of each user, rows [B]; with the k best items but for exclude [B, E] asked at `elapsed`, or, of
        k = 0, without."""
        if not k:
            return self.backend.advance(rows, state), None
        if elapsed is None:
            return self.backend.step(rows, exclude, k, state)
        return self.backend.step(rows, exclude, k, state, elapsed)

    def _waves(
        self,
        histories: Sequence[np.ndarray],
        state: State | None,
        exclude: np.ndarray | None,
        k: int,
        elapsed: np.ndarray | None,
    ) -> tuple[Moved, TopK | None]:
        state = self.manifest.state.zeros(len(histories)) if state is None else state
        if max(map(len, histories)) == 1:
            return self.one_each(np.concatenate(histories), state, exclude, k, elapsed)
        order = _longest_first(histories)
        answer = _Answer(self.manifest, state, order)
        items, lengths = _padded([histories[place] for place in order])
        active = len(order)
        lists = []
        for position, rows in enumerate(np.ascontiguousarray(items.T)):
            going = int(np.count_nonzero(lengths > position + 1))
            last = going if k else active
            if last:
                answer.take(0, self.backend.advance(rows[:last], answer.past(0, last)))
            if last < active:
                ending = order[last:active]
                left, later = (None if each is None else each[ending] for each in (exclude, elapsed))
                moved, best = self.one_each(rows[last:active], answer.past(last, active), left, k, later)
                assert best is not None
                answer.take(last, moved)
                lists.append((ending, best.items.copy(), best.scores.copy()))
            active = going
        return answer.in_order(), _in_order(lists) if lists else None


class _Answer:
    """User vectors and states of histories in the order of their lengths: the unfinished are always the first."""

    def __init__(self, manifest: Manifest, state: State, order: np.ndarray) -> None:
        self.order = order
        self.user = np.zeros((len(order), manifest.dim), np.float32)
        self.state = {name: tensor[order] for name, tensor in state.items()}

    def past(self, start: int, end: int) -> dict[str, np.ndarray]:
        return {name: tensor[start:end] for name, tensor in self.state.items()}

    def take(self, start: int, found: Moved) -> None:
        end = start + len(found.user)
        self.user[start:end] = found.user
        for name, tensor in self.state.items():
            tensor[start:end] = found.state[name]

    def in_order(self) -> Moved:
        back = np.argsort(self.order)
        return Moved(self.user[back], {name: tensor[back] for name, tensor in self.state.items()})


def _in_order(lists: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> TopK:
    places, items, scores = map(np.concatenate, zip(*lists, strict=True))
    back = np.argsort(places)
    return TopK(items[back], scores[back])


def _longest_first(histories: Sequence[np.ndarray]) -> np.ndarray:
    return np.argsort([-len(history) for history in histories], kind="stable")


def _padded(histories: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Item rows [B, T], padded with 0 on the right, and lengths [B]."""
    lengths = np.array([len(history) for history in histories], np.int64)
    items = np.zeros((len(histories), int(lengths.max())), np.int64)
    for line, history in zip(items, histories, strict=True):
        line[: len(history)] = history
    return items, lengths
