"""The one reader: moves states over events, in chunks through encode or event by event through step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deployrec.bundle.manifest import Manifest
from deployrec.runtime.backends.base import Backend, Output, State


class Reader:
    """Reads item rows into states. As those of a backend, arrays of an answer may be overwritten by the next call.

    Histories are int64 item rows [n], oldest first, none empty; states [B, ...] by tensor name, None for zeros. The
    top-k of an answer is that of the last run of a graph: the user's own where there is one user, and `exclude`.
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

    def encode(
        self, histories: Sequence[np.ndarray], state: State | None = None, exclude: np.ndarray | None = None
    ) -> Output:
        """After the histories, each carried on from its state: the encode graph over one chunk of every unfinished
        history at a time. exclude [B, E], None for no top-k."""
        state = self.manifest.state.zeros(len(histories)) if state is None else state
        chunk = self.manifest.encode_chunk
        if max(map(len, histories)) <= chunk:
            return self.backend.encode(*_padded(histories), exclude, state)
        order = _longest_first(histories)
        answer = _Answer(self.manifest, state, order)
        for begin in range(0, len(histories[order[0]]), chunk):
            parts = [part for place in order if len(part := histories[place][begin : begin + chunk])]
            past = answer.past(len(parts))
            left = None if exclude is None else exclude[order[: len(parts)]]
            answer.take(self.backend.encode(*_padded(parts), left, past))
        return answer.in_order()

    def steps(self, histories: Sequence[np.ndarray], state: State | None = None) -> Output:
        """The same through the step graph, one event of every unfinished history at a time; without a top-k."""
        state = self.manifest.state.zeros(len(histories)) if state is None else state
        if max(map(len, histories)) == 1:
            return self.backend.step(np.concatenate(histories), None, state)
        order = _longest_first(histories)
        answer = _Answer(self.manifest, state, order)
        items, lengths = _padded([histories[place] for place in order])
        for position, rows in enumerate(np.ascontiguousarray(items.T)):
            active = int(np.count_nonzero(lengths > position))
            past = answer.past(active)
            answer.take(self.backend.step(rows[:active], None, past))
        return answer.in_order()


class _Answer:
    """User vectors and states of histories in the order of their lengths: the unfinished are always the first."""

    def __init__(self, manifest: Manifest, state: State, order: np.ndarray) -> None:
        self.order = order
        self.user = np.zeros((len(order), manifest.dim), np.float32)
        self.state = {name: tensor[order] for name, tensor in state.items()}

    def past(self, active: int) -> dict[str, np.ndarray]:
        return {name: tensor[:active] for name, tensor in self.state.items()}

    def take(self, found: Output) -> None:
        self.found = found
        active = len(found.user)
        self.user[:active] = found.user
        for name, tensor in self.state.items():
            tensor[:active] = found.state[name]

    def in_order(self) -> Output:
        back = np.argsort(self.order)
        state = {name: tensor[back] for name, tensor in self.state.items()}
        return Output(self.found.topk_items, self.found.topk_scores, self.user[back], state)


def _longest_first(histories: Sequence[np.ndarray]) -> np.ndarray:
    return np.argsort([-len(history) for history in histories], kind="stable")


def _padded(histories: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Item rows [B, T], padded with 0 on the right, and lengths [B]."""
    lengths = np.array([len(history) for history in histories], np.int64)
    items = np.zeros((len(histories), int(lengths.max())), np.int64)
    for line, history in zip(items, histories, strict=True):
        line[: len(history)] = history
    return items, lengths
