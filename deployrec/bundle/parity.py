"""The gates between an implementation and its float64 reference, shared by `export` and `verify`."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deployrec.errors import BundleError
from deployrec.files import atomic_file, first_line

USER_ATOL = 1e-5
STATE_RTOL = 1e-4
TIE_FACTOR = 2e-5


@dataclass(frozen=True)
class Answer:
    """What one user gets after a history: user [D], state by tensor name, top-k items and scores [K]."""

    user: np.ndarray
    state: Mapping[str, np.ndarray]
    topk_items: np.ndarray
    topk_scores: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """One figure against its limit; a NaN never passes."""

    comparison: str
    """the implementation, such as "onnx step"."""
    case: str
    quantity: str
    """user, state, top-k (which items) or scores (theirs)."""
    figure: float
    limit: float
    passed: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "passed", bool(self.figure <= self.limit))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; figures that JSON cannot hold become text ("nan", "inf")."""
        figure = self.figure if math.isfinite(self.figure) else str(self.figure)
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "figure": figure}


@dataclass(frozen=True)
class ParityCases:
    """The histories of a certificate and the float64 answers to them.

    rows: all histories' item rows, one after the other; offsets [C + 1]; user [C, D]; state tensors [C, ...];
    topk_items, topk_scores [C, K]; exclude [C, E], padded with 0; item_l1_max: the largest L1 norm of an item vector.
    The user vector and top-k of a case without events mean nothing and are not compared.
    """

    rows: np.ndarray
    offsets: np.ndarray
    user: np.ndarray
    state: Mapping[str, np.ndarray]
    topk_items: np.ndarray
    topk_scores: np.ndarray
    exclude: np.ndarray
    item_l1_max: float

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def history(self, case: int) -> np.ndarray:
        return self.rows[self.offsets[case] : self.offsets[case + 1]]

    def label(self, case: int) -> str:
        return f"case {case}: {len(self.history(case))} events"

    def reference(self, case: int) -> Answer:
        state = {name: tensor[case] for name, tensor in self.state.items()}
        return Answer(self.user[case], state, self.topk_items[case], self.topk_scores[case])

    def compare(self, comparison: str, case: int, answer: Answer) -> list[Comparison]:
        """The rows of one implementation on one case: user, state and top-k, or the state alone without events."""
        reference = self.reference(case)
        label = self.label(case)
        rows = [Comparison(comparison, label, "state", *state_figure(answer.state, reference.state))]
        if len(self.history(case)) > 0:
            ties = TIE_FACTOR * self.item_l1_max
            rows += [
                Comparison(comparison, label, "user", _largest(answer.user - reference.user), USER_ATOL),
                Comparison(comparison, label, "top-k", topk_figure(answer, reference, self.exclude[case]), ties),
                Comparison(comparison, label, "scores", score_figure(answer, reference), ties),
            ]
        return rows

    def save(self, path: str | Path) -> None:
        arrays: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("rows", "offsets", "user", "topk_items", "topk_scores", "exclude", "item_l1_max")
        }
        arrays |= {f"state.{name}": tensor for name, tensor in self.state.items()}
        with atomic_file(path) as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def parse(cls, content: bytes, path: Path) -> ParityCases:
        """Reads the bytes that `save` wrote, without unpickling; raises BundleError, which names `path`, for others."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            state = {
                name.removeprefix("state."): arrays.pop(name) for name in list(arrays) if name.startswith("state.")
            }
            return cls(**{**arrays, "item_l1_max": float(arrays["item_l1_max"])}, state=state)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise BundleError(
                f"expected parity cases in {path}; got a broken file ({first_line(error)}); export again"
            ) from None


def state_figure(state: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Largest error and its limit 1e-4 * max(1, |s|max), of the tensor that comes nearest to its limit (or beyond)."""
    worst = (0.0, STATE_RTOL)
    for name, expected in reference.items():
        limit = STATE_RTOL * max(1.0, _largest(expected))
        figure = _largest(state[name] - expected)
        if math.isnan(figure):
            return figure, limit
        worst = max(worst, (figure, limit), key=lambda pair: pair[0] / pair[1])
    return worst


def topk_figure(answer: Answer, reference: Answer, exclude: np.ndarray) -> float:
    """How far apart in score the items are that changed places; 0 for identical lists.

    An item of the answer stands at a place of the reference: the figure is the largest difference between that
    place's reference score and the item's own. The own score is the reference's where the item is in its list, else
    the answer's. An excluded or repeated item, and a slot exhausted on one side only, give infinity.
    """
    items, expected = answer.topk_items, reference.topk_items
    real = items[items > 0]
    if not np.array_equal(items > 0, expected > 0) or len(np.unique(real)) < len(real) or np.isin(real, exclude).any():
        return math.inf
    scores = dict(zip(expected.tolist(), reference.topk_scores.tolist(), strict=True))
    gaps = [
        abs(scores.get(item, own) - place)
        for item, own, place in zip(
            items.tolist(), answer.topk_scores.tolist(), reference.topk_scores.tolist(), strict=True
        )
        if item > 0
    ]
    return float(np.max(gaps, initial=0.0))


def score_figure(answer: Answer, reference: Answer) -> float:
    """Largest difference of the sorted scores, over the slots that hold an item."""
    filled = reference.topk_items > 0
    return _largest(answer.topk_scores[filled] - reference.topk_scores[filled])


def _largest(values: np.ndarray) -> float:
    """Largest magnitude; NaN where there is one."""
    return float(np.abs(values).max(initial=0.0))
