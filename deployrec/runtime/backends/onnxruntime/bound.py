"""A graph on buffers that are bound once for each size of request: binding costs more than a small run does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from deployrec.bundle.time_facts import ELAPSED
from deployrec.runtime.backends.base import Moved, State, TopK
from deployrec.state import UNKNOWN_TIME

NARROWEST = 64
"""Room for excluded items in the narrowest binding; each further one has four times as much, so that what a request
does not exclude is hardly paid for, and any number can be excluded."""
MOST_BINDINGS = 64
"""Sizes of requests that stay bound."""
PAST, PRESENT = "past.", "present."


class BoundGraph:
    """The step, advance or score graph of a bundle; one set of buffers serves all batch sizes up to the largest.

    buffers: inputs and outputs of `capacity` users by name, which a caller keeps; it binds no larger batch.
    """

    def __init__(
        self, session: onnxruntime.InferenceSession, buffers: dict[str, np.ndarray] | None = None, capacity: int = 0
    ) -> None:
        self.session = session
        self.capacity = capacity
        self.buffers = {} if buffers is None else buffers
        self._bindings: dict[tuple[int, int, int], Binding] = {}

    def binding(self, batch: int, excluded: int = 0, k: int = 0) -> Binding:
        """The one for so many users, with room for so many excluded items each, and lists of k."""
        width = NARROWEST
        while width < excluded:
            width *= 4
        found = self._bindings.get((batch, width, k))
        return self._bind(batch, width, k) if found is None else found

    def _bind(self, batch: int, width: int, k: int) -> Binding:
        if batch > self.capacity:
            self._bindings.clear()
            self.capacity = 1 << (batch - 1).bit_length()
            values = (*self.session.get_inputs(), *self.session.get_outputs())
            self.buffers = {value.name: _zeros(value, self.capacity) for value in values if _per_user(value)}
        elif len(self._bindings) >= MOST_BINDINGS:
            self._bindings.clear()
        found = self._bindings[batch, width, k] = Binding(self.session, self.buffers, batch, width, k)
        return found


class Binding:
    """All inputs and outputs of a graph at one size; answers lie in the bound buffers themselves."""

    def __init__(
        self, session: onnxruntime.InferenceSession, buffers: dict[str, np.ndarray], batch: int, width: int, k: int
    ) -> None:
        self.session = session
        arrays = {name: buffer[:batch] for name, buffer in buffers.items()}
        arrays |= {
            "exclude_items": np.zeros((batch, width), np.int64),
            "k": np.array([k], np.int64),
            "topk_items": np.zeros((batch, k), np.int64),
            "topk_scores": np.zeros((batch, k), np.float32),
        }
        self.binding = session.io_binding()
        self.values = []  # a binding keeps no reference to its values, nor a value to its array
        for value in session.get_inputs():
            self.values.append(onnxruntime.OrtValue.ortvalue_from_numpy(arrays[value.name]))
            self.binding.bind_ortvalue_input(value.name, self.values[-1])
        for value in session.get_outputs():
            self.values.append(onnxruntime.OrtValue.ortvalue_from_numpy(arrays[value.name]))
            self.binding.bind_ortvalue_output(value.name, self.values[-1])
        self.first = arrays[session.get_inputs()[0].name]
        self.exclude, self.used = arrays["exclude_items"], 0
        self.elapsed = arrays.get(ELAPSED)
        self.past = [(name.removeprefix(PAST), array) for name, array in arrays.items() if name.startswith(PAST)]
        self.best = TopK(arrays["topk_items"], arrays["topk_scores"])
        present = {name.removeprefix(PRESENT): a for name, a in arrays.items() if name.startswith(PRESENT)}
        self.moved = Moved(arrays["user"], present)
        self.arrays = arrays

    def run(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def advance(self, rows: np.ndarray, state: State) -> Moved:
        self.first[...] = rows
        for name, buffer in self.past:
            buffer[...] = state[name]
        self.run()
        return self.moved

    def step(
        self, rows: np.ndarray, exclude: np.ndarray, state: State, elapsed: np.ndarray | None
    ) -> tuple[Moved, TopK]:
        self.leave_out(exclude)
        self.tell(elapsed)
        return self.advance(rows, state), self.best

    def score(self, user: np.ndarray, exclude: np.ndarray, elapsed: np.ndarray | None) -> TopK:
        self.leave_out(exclude)
        self.tell(elapsed)
        self.first[...] = user
        self.run()
        return self.best

    def leave_out(self, exclude: np.ndarray) -> None:
        """Sets the excluded items [B or 1, E]."""
        used = exclude.shape[1]
        self.exclude[:, :used] = exclude
        if used < self.used:
            self.exclude[:, used : self.used] = 0
        self.used = used

    def tell(self, elapsed: np.ndarray | None) -> None:
        """Sets the moment of the request, where the graph asks for it."""
        if self.elapsed is not None:
            self.elapsed[...] = UNKNOWN_TIME if elapsed is None else elapsed


def _per_user(value: Any) -> bool:
    """Whether the batch is the one axis that is not fixed."""
    return value.shape[0] == "B" and all(isinstance(axis, int) for axis in value.shape[1:])


def _zeros(value: Any, batch: int) -> np.ndarray:
    return np.zeros((batch, *value.shape[1:]), np.int64 if value.type == "tensor(int64)" else np.float32)
