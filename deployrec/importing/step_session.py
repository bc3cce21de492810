"""The graph as it came, run by ONNX Runtime: whether it runs at all, the same twice, and each row for itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime

from deployrec.errors import ConfigError
from deployrec.files import first_line
from deployrec.importing.step_graph import INTEGERS, StepGraph

APART = 1e-5
"""Between a row alone and in a batch, of the largest magnitude: products of other shapes round otherwise."""

State = Mapping[str, np.ndarray]
"""Tensors by the name of the graph's inputs, in the graph's own layout."""


class StepSession:
    """num_scores: how many scores the graph gives of a row. Raises ConfigError for a graph that does not run, draws
    random numbers, or mixes the rows of a batch."""

    def __init__(self, step: StepGraph) -> None:
        self.step = step
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        try:
            self._session = onnxruntime.InferenceSession(
                step.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no base
            raise self._unfit("a graph that ONNX Runtime runs", first_line(error), "export it again") from None
        scores, state = self.move(np.zeros(2, np.int64), self.start(2))
        self.num_scores = scores.shape[1]
        self._check_state(state)
        self._check_rows()

    def start(self, batch: int) -> dict[str, np.ndarray]:
        """Zeros: users without events."""
        found = {}
        for state in self.step.states:
            shape = [batch if axis == state.batch_axis else int(size) for axis, size in enumerate(state.past.shape)]
            found[state.past.name] = np.zeros(shape, INTEGERS.get(state.past.dtype, "float32"))
        return found

    def move(self, items: np.ndarray, state: State) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """items [B], as the graph numbers them -> (scores [B, M], the next state)."""
        item = self.step.item
        shaped = items.reshape(-1, *(1 for _ in item.shape[1:])).astype(INTEGERS[item.dtype])
        names = [self.step.scores, *(state.present for state in self.step.states)]
        try:
            scores, *present = self._session.run(names, {item.name: shaped, **state})
        except Exception as error:
            raise self._unfit("a step of any batch", first_line(error), "export it with a dynamic batch axis") from None
        if scores.dtype != np.float32 or scores.size % len(items) or scores.shape[0] != len(items):
            got = f"{scores.dtype} {list(scores.shape)} for {len(items)} rows"
            raise self._unfit(f"float32 scores [B, N] of '{self.step.scores}'", got, "name the scores with --scores")
        return scores.reshape(len(items), -1), dict(zip((s.past.name for s in self.step.states), present, strict=True))

    def _check_state(self, state: State) -> None:
        for name, expected in self.start(2).items():
            found = state[name]
            if (found.shape, found.dtype) != (expected.shape, expected.dtype):
                raise self._unfit(
                    f"a next value of '{name}', {expected.dtype} {list(expected.shape)} for 2 rows",
                    f"{found.dtype} {list(found.shape)}",
                    "a state keeps its shape, however many events it has read",
                )

    def _check_rows(self) -> None:
        """Determinism and independence of rows, on states that a few items have led to."""
        draw = np.random.default_rng(0)
        most = self.num_scores
        state: dict[str, np.ndarray] = self.start(4)
        for _ in range(4):
            items = draw.integers(1, max(2, most), 4)
            scores, after = self.move(items, state)
            again, same = self.move(items, state)
            pairs = [(scores, again), *((after[name], same[name]) for name in after)]
            if not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
                raise self._unfit("the same answer to the same item and state", "two", "export it in evaluation mode")
            if not all(np.isfinite(a).all() for a, _ in pairs):
                raise self._unfit("finite scores and states", "NaN or infinity", "train or export it again")
            for row in range(4):
                alone, own = self.move(items[row : row + 1], self._row(state, row))
                pairs = [
                    (scores[row : row + 1], alone),
                    *((part, own[name]) for name, part in self._row(after, row).items()),
                ]
                if any(np.abs(a - b).max(initial=0) > APART * max(1, np.abs(b).max(initial=0)) for a, b in pairs):
                    raise self._unfit(
                        "rows that do not depend on each other",
                        "other answers in a batch than alone",
                        "take batch statistics out of the graph (evaluation mode)",
                    )
            state = after

    def _row(self, state: State, row: int) -> dict[str, np.ndarray]:
        axes = {port.past.name: port.batch_axis for port in self.step.states}
        return {name: np.take(tensor, [row], axes[name]) for name, tensor in state.items()}

    def _unfit(self, expected: str, got: str, advice: str) -> ConfigError:
        return ConfigError(f"expected {expected} in {self.step.path}; got {got}; {advice}")
