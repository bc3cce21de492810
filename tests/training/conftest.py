"""Small data sets for training tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from deployrec.data import Dataset
from deployrec.training.runs import DataSource

MakeDataset = Callable[..., Dataset]


def _make(histories: Sequence[Sequence[int]], num_items: int | None = None) -> Dataset:
    events = np.array([item for history in histories for item in history], dtype=np.int64)
    num_items = num_items or int(events.max())
    names = [f"i{row}" for row in range(1, num_items + 1)]
    counts = np.bincount(events, minlength=num_items + 1)[1:]
    items = pl.DataFrame({"item_id": names, "title": names, "popularity": counts})
    offsets = np.cumsum([0, *map(len, histories)])
    return Dataset("tiny", items, [f"u{u}" for u in range(len(histories))], offsets, events)


@pytest.fixture(scope="session")
def make_dataset() -> MakeDataset:
    """Builds a Dataset from histories of item rows."""
    return _make


@pytest.fixture(scope="session")
def cycles() -> Dataset:
    """120 users who walk round a ring of 30 items from a random start: the next item is certain, popularity useless."""
    rng = np.random.default_rng(0)
    histories = [(rng.integers(30) + np.arange(rng.integers(5, 60))) % 30 + 1 for _ in range(120)]
    return _make([list(map(int, history)) for history in histories], 30)


@pytest.fixture
def data(cycles: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSource:
    """The `cycles` data behind a path, as `load_dataset` would read it from disk."""
    monkeypatch.setattr("deployrec.training.runs.load_dataset", lambda source, **options: cycles)
    return DataSource(str(tmp_path / "cycles.inter"))
