"""A content tower: item vectors from item columns, by a ridge regression on the vectors that were trained.

Categories, words and numbers become features by scikit-learn's hashing, so that a column's values need not be known
beforehand; numbers enter by their size, too. Needs the extra `items`.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.catalogue import Catalogue
from deployrec.bundle.manifest import TOWER
from deployrec.errors import BundleError, ConfigError
from deployrec.extras import missing_extra
from deployrec.files import first_line

FEATURES = 2**12
"""Hashed features; two values that share one share its weight."""
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Of the ridge, out of which the held-out items choose."""
HELD_OUT = 0.1
BINS = 12
"""A number is also a category: which of so many equally frequent ranges it lies in."""
NEIGHBOURS = 10
MOST_FITTED = 200_000
"""Items that the regression sees; more change little."""
TITLE = "title"
WORD = re.compile(r"\w[\w'-]*")


@dataclass(frozen=True)
class Fit:
    """How near the vectors of held-out items come, those of random ones and of the mean vector beside it."""

    recall: float
    """at 10: which share of an item's ten nearest trained items (by cosine) the made vector's ten nearest are"""
    random: float
    strength: float
    fitted: int
    held_out: int


@dataclass(frozen=True)
class Tower:
    """weight [F, D] and bias [D], float32, of hashed features, then of each number's size; numbers: mean, spread and
    edges of the ranges by column; columns: the others, by whole texts and words."""

    weight: np.ndarray
    bias: np.ndarray
    numbers: dict[str, tuple[float, float, list[float]]]
    columns: tuple[str, ...]
    fit: Fit

    def vectors(self, columns: Mapping[str, Sequence[str]]) -> np.ndarray:
        """Item vectors float32 [M, D] from columns of M texts; a column that is not there says nothing."""
        made: np.ndarray = _features(self.numbers, self.columns, columns) @ self.weight + self.bias
        return made.astype(np.float32)

    def content(self) -> bytes:
        """The bytes of tower.npz."""
        about = {"numbers": self.numbers, "columns": self.columns, "fit": asdict(self.fit)}
        with io.BytesIO() as file:
            np.savez_compressed(file, weight=self.weight, bias=self.bias, about=np.array(json.dumps(about)))
            return file.getvalue()

    @classmethod
    def read(cls, bundle: Bundle) -> Tower | None:
        """The bundle's tower, None where it has none; raises BundleError for a broken one."""
        if TOWER not in bundle.manifest.files:
            return None
        try:
            with np.load(io.BytesIO(bundle.read(TOWER)), allow_pickle=False) as file:
                about, weight, bias = json.loads(str(file["about"])), file["weight"], file["bias"]
            numbers = {name: (mean, spread, list(edges)) for name, (mean, spread, edges) in about["numbers"].items()}
            if weight.shape != (FEATURES + len(numbers), bundle.manifest.dim) or bias.shape != weight.shape[1:]:
                raise ValueError(f"weights {weight.shape}")
            return cls(weight, bias, numbers, tuple(about["columns"]), Fit(**about["fit"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(
                f"expected a tower in {bundle.file(TOWER)}; got {first_line(error)}; export the bundle again"
            ) from None


def fit_tower(catalogue: Catalogue, table: np.ndarray, num_items: int) -> Tower:
    """Fits the first `num_items` rows of the table float32 [N + 1, D], those with an interaction, by their columns.

    One in ten is held out first, to choose the ridge's strength and to say what it is worth; then all are fitted.
    Raises ConfigError for a catalogue without columns or of too few items.
    """
    rows = np.flatnonzero(catalogue.popularity[: num_items + 1] > 0)
    rows = np.random.default_rng(0).permutation(rows)[:MOST_FITTED]
    texts = columns_of(catalogue, rows)
    if len(rows) < 2 * NEIGHBOURS or not any(any(own) for own in texts.values()):
        raise ConfigError(
            f"expected at least {2 * NEIGHBOURS} items with titles or columns to learn vectors from; got {len(rows)}; "
            "give vectors or neighbours"
        )
    numbers = {name: scale for name, own in texts.items() if (scale := _scale(own))}
    columns = tuple(name for name in texts if name not in numbers)
    features = _features(numbers, columns, texts)
    wanted = table[rows]
    held = max(1, int(HELD_OUT * len(rows)))
    made = {strength: _ridge(features[held:], wanted[held:], strength)(features[:held]) for strength in STRENGTHS}
    recall, strength = max((_recall(vectors, wanted, held), strength) for strength, vectors in made.items())
    # A ridge draws everything towards the mean: at its own spread a new item would lose against every trained one.
    mean = wanted.mean(0)
    gain = float(np.linalg.norm(wanted[:held] - mean)) / max(1e-12, float(np.linalg.norm(made[strength] - mean)))
    shuffled = np.random.default_rng(1).permutation(wanted)[:held]
    fit = Fit(recall, _recall(shuffled, wanted, held), strength, len(rows), held)
    final = _ridge(features, wanted, strength)
    return Tower(gain * final.weight, mean + gain * (final.bias - mean), numbers, columns, fit)


def columns_of(catalogue: Catalogue, rows: np.ndarray) -> dict[str, list[str]]:
    """Title and further columns of some rows."""
    places, named = rows.tolist(), {TITLE: catalogue.titles, **catalogue.columns}
    return {name: [texts[row] for row in places] for name, texts in named.items()}


@dataclass(frozen=True)
class _Line:
    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, features: Any) -> np.ndarray:
        made: np.ndarray = features @ self.weight + self.bias
        return made


def _ridge(features: Any, wanted: np.ndarray, strength: float) -> _Line:
    ridge = _sklearn().linear_model.Ridge(alpha=strength, solver="sparse_cg", tol=1e-4)
    ridge.fit(features, wanted)
    return _Line(ridge.coef_.T.astype(np.float32), ridge.intercept_.astype(np.float32))


def _recall(made: np.ndarray, wanted: np.ndarray, held: int) -> float:
    """Of the first `held` items: shares of their nearest among the others that are also nearest to the made vectors."""
    others, own = _unit(wanted[held:]), _unit(wanted[:held])
    k = min(NEIGHBOURS, len(others))
    near, nearest = (np.argsort(-(_unit(part) @ others.T), axis=1)[:, :k] for part in (made, own))
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(near, nearest, strict=True)]))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _features(numbers: Mapping[str, Any], columns: Sequence[str], texts: Mapping[str, Sequence[str]]) -> Any:
    """Sparse float32 [M, F + numbers]."""
    count = len(next(iter(texts.values())))
    tokens: list[list[str]] = [[] for _ in range(count)]
    for name in columns:
        for own, text in zip(tokens, texts.get(name, ()), strict=False):
            if text:
                own.append(f"{name}={text}")
                own += [f"{name}:{word.lower()}" for word in WORD.findall(text)]
    sizes = np.zeros((count, len(numbers)), np.float32)
    for place, (name, (mean, spread, edges)) in enumerate(numbers.items()):
        for line, text in enumerate(texts.get(name, ())):
            if (number := _number(text)) is not None:
                sizes[line, place] = (number - mean) / spread
                tokens[line].append(f"{name}~{np.searchsorted(edges, number)}")
    hasher = _sklearn().feature_extraction.FeatureHasher(FEATURES, input_type="string", dtype=np.float32)
    return _hstack([hasher.transform(tokens), sizes])


def _scale(texts: Sequence[str]) -> tuple[float, float, list[float]] | None:
    """Mean, spread and edges of ranges of a column of numbers; None for another."""
    found = [_number(text) for text in texts if text]
    numbers = [number for number in found if number is not None]
    if not numbers or len(numbers) < 0.9 * len(found) or len(set(numbers)) < 3:
        return None
    edges = sorted(set(np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1]).tolist()))
    return float(np.mean(numbers)), float(np.std(numbers)), edges


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _hstack(parts: list[Any]) -> Any:
    from scipy.sparse import hstack

    return hstack(parts, format="csr", dtype=np.float32)


def _sklearn() -> Any:
    """The package, with the two modules that are used; ConfigError, which names the extra, where it is missing."""
    try:
        import sklearn
        import sklearn.feature_extraction
        import sklearn.linear_model
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from None
    return sklearn
