"""The gates between an implementation and its float64 reference, shared by `export` and `verify`."""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from deployrec.errors import BundleError
from deployrec.files import atomic_file, first_line

CERTIFIED_K = 100
"""Items of the lists that a certificate compares, where the catalogue has so many."""
LONG = 2_000
"""Events up to which every path is tried on a history; longer ones are read in encode's chunks, and step by step."""
USER_ATOL = 1e-5
STATE_RTOL = 1e-4
TIE_FACTOR = 2e-5
STORED = ("rows", "offsets", "names", "user", "topk_items", "topk_scores", "exclude")


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

    @property
    def strain(self) -> float:
        """The figure as a share of its limit; infinite for a NaN, so that it is the worst of any."""
        return math.inf if math.isnan(self.figure) else self.figure / self.limit

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; figures that JSON cannot hold become text ("nan", "inf")."""
        figure = self.figure if math.isfinite(self.figure) else str(self.figure)
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "figure": figure}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Comparison:
        """What `to_dict` wrote."""
        return cls(row["comparison"], row["case"], row["quantity"], float(row["figure"]), float(row["limit"]))


def worst(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The row nearest to its limit (or furthest beyond) of each comparison and quantity."""
    found: dict[tuple[str, str], Comparison] = {}
    for row in comparisons:
        key = row.comparison, row.quantity
        if key not in found or row.strain > found[key].strain:
            found[key] = row
    return list(found.values())


def largest_figures(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """The largest figure of each quantity; NaN where there is one."""
    quantities = dict.fromkeys(row.quantity for row in comparisons)
    return {name: float(np.max([row.figure for row in comparisons if row.quantity == name])) for name in quantities}


@dataclass(frozen=True)
class ParityCases:
    """The histories of a certificate and the float64 answers to them.

    rows: all histories' item rows, one after the other; offsets [C + 1]; names [C], what a history is; user [C, D];
    state tensors [C, ...]; topk_items, topk_scores [C, K]; exclude [C, E], padded with 0; files: the digest of every
    file that decides an answer; item_l1_max: the largest L1 norm of an item vector, which is not stored; elapsed [C]
    or [C, 2], of a time-aware bundle: what `TimeFacts.elapsed` is of each history's lists.
    The user vector and top-k of a case without events mean nothing and are not compared.
    """

    rows: np.ndarray
    offsets: np.ndarray
    names: np.ndarray
    user: np.ndarray
    state: Mapping[str, np.ndarray]
    topk_items: np.ndarray
    topk_scores: np.ndarray
    exclude: np.ndarray
    files: Mapping[str, str]
    item_l1_max: float
    elapsed: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> list[int]:
        return [int(length) for length in np.diff(self.offsets)]

    @property
    def short(self) -> list[int]:
        """The cases on which every path is tried."""
        return [case for case, length in enumerate(self.lengths) if length <= LONG]

    @property
    def long(self) -> list[int]:
        """The cases that show what many events do to a state."""
        return [case for case, length in enumerate(self.lengths) if length > LONG]

    def history(self, case: int) -> np.ndarray:
        return self.rows[self.offsets[case] : self.offsets[case + 1]]

    def asked(self, places: Sequence[int]) -> np.ndarray | None:
        """`elapsed` of the histories at `places`; None for a bundle that knows no time."""
        return None if self.elapsed is None else self.elapsed[places]

    def label(self, case: int) -> str:
        return f"case {case}: {self.lengths[case]} events, {self.names[case]}"

    def reference(self, case: int) -> Answer:
        state = {name: tensor[case] for name, tensor in self.state.items()}
        return Answer(self.user[case], state, self.topk_items[case], self.topk_scores[case])

    def compare(self, comparison: str, case: int, answer: Answer) -> list[Comparison]:
        """The rows of one implementation on one case: user, state and top-k, or the state alone without events."""
        reference, label, ties = self.reference(case), self.label(case), TIE_FACTOR * self.item_l1_max
        figures = {"state": state_figure(answer.state, reference.state)}
        if len(self.history(case)) > 0:
            figures |= {
                "user": (_largest(answer.user - reference.user), USER_ATOL),
                "top-k": (topk_figure(answer, reference, self.exclude[case]), ties),
                "scores": (score_figure(answer, reference), ties),
            }
        return [Comparison(comparison, label, quantity, *figure) for quantity, figure in figures.items()]

    def keep(self, places: Sequence[int]) -> ParityCases:
        """The cases at `places`, in their order."""
        histories = [self.history(place) for place in places]
        return replace(
            self,
            rows=np.concatenate([np.zeros(0, np.int64), *histories]),
            offsets=np.cumsum([0, *map(len, histories)]),
            state={name: tensor[places] for name, tensor in self.state.items()},
            elapsed=self.asked(places),
            **{name: getattr(self, name)[places] for name in ("names", "user", "topk_items", "topk_scores", "exclude")},
        )

    def save(self, path: str | Path) -> None:
        arrays: dict[str, Any] = {name: getattr(self, name) for name in STORED}
        if self.elapsed is not None:
            arrays["elapsed"] = self.elapsed
        arrays |= {f"state.{name}": tensor for name, tensor in self.state.items()}
        arrays["files"] = np.array(json.dumps(dict(self.files)))
        with atomic_file(path) as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def parse(cls, content: bytes, path: Path, item_table: np.ndarray) -> ParityCases:
        """Reads the bytes that `save` wrote, without unpickling; raises BundleError, which names `path`, for others."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            state = {
                name.removeprefix("state."): arrays.pop(name) for name in list(arrays) if name.startswith("state.")
            }
            norm = float(np.abs(item_table).sum(1).max())
            files = {str(name): str(digest) for name, digest in json.loads(str(arrays.pop("files"))).items()}
            cases = cls(**arrays, state=state, files=files, item_l1_max=norm)
            cases._check(*item_table.shape)
            return cases
        except (
            *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, IndexError),
            *(MemoryError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error),
        ) as error:
            raise BundleError(
                f"expected parity cases in {path}; got a broken file ({first_line(error)}); export again"
            ) from None

    def _check(self, rows: int, dim: int) -> None:
        """Raises ValueError for arrays that do not fit together, or that hold other rows than the item table has."""
        cases, k = self.topk_items.shape
        shapes = {"offsets": (cases + 1,), "names": (cases,), "rows": (int(self.offsets[-1]),), "user": (cases, dim)}
        shapes |= {"topk_scores": (cases, k)}
        shapes |= {"exclude": (cases, self.exclude.shape[1])}
        if self.elapsed is not None:
            shapes |= {"elapsed": (cases, 2)[: self.elapsed.ndim]}
            if self.elapsed.dtype != np.float32 or not np.isfinite(self.elapsed).all():
                raise ValueError("elapsed seconds that are no float32")
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} {getattr(self, name).shape} for {shape}")
        if any(len(tensor) != cases for tensor in self.state.values()):
            raise ValueError("states of another number of cases")
        for name in ("rows", "offsets", "topk_items", "exclude"):
            values = getattr(self, name)
            if values.dtype != np.int64 or values.min(initial=0) < 0:
                raise ValueError(f"{name} that are no whole numbers from 0")
        if self.offsets[0] != 0 or np.any(np.diff(self.offsets) < 0):
            raise ValueError("offsets that do not rise")
        if max(self.rows.max(initial=0), self.exclude.max(initial=0), self.topk_items.max(initial=0)) >= rows:
            raise ValueError("rows beyond the item table")
        if self.rows.min(initial=1) < 1:
            raise ValueError("padding within a history")


def state_figure(state: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Largest error and its limit 1e-4 * max(1, |s|max), of the tensor that comes nearest to its limit (or beyond)."""
    nearest = (0.0, STATE_RTOL)
    for name, expected in reference.items():
        limit = STATE_RTOL * max(1.0, _largest(expected))
        figure = _largest(state[name] - expected)
        if math.isnan(figure):
            return figure, limit
        nearest = max(nearest, (figure, limit), key=lambda pair: pair[0] / pair[1])
    return nearest


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
