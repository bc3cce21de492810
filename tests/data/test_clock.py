"""A data set keeps each event's time, exact, in the log's own unit, and the gaps between a user's events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.data import Dataset, load_dataset
from deployrec.data.times import read_times
from deployrec.errors import ConfigError

NOW = 1_700_000_000
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def log_of(times: Any) -> Dataset:
    """One user a with items x0, x1, ... at `times`, and a user b who has one event at the first of them."""
    frame = {"user_id": ["b", *("a" for _ in times)], "item_id": ["y", *(f"x{at}" for at in range(len(times)))]}
    head = times[:1] if isinstance(times, pl.Series) else pl.Series(times[:1])
    return load_dataset(pl.DataFrame({**frame, "timestamp": pl.concat([head, pl.Series(times)])}))


def order(dataset: Dataset) -> list[int]:
    """Which of `log_of`'s times come first, second, ..."""
    ids = dataset.items["item_id"]
    return [int(ids[int(row) - 1][1:]) for row in dataset.history(1)]


@settings(deadline=None)
@given(st.sampled_from(sorted(PER_SECOND)), st.lists(st.integers(0, 10**8), min_size=1, max_size=9))
def test_whole_unix_times_stay_as_they_are(unit: str, offsets: list[int]) -> None:
    dataset = log_of([NOW * PER_SECOND[unit] + offset for offset in offsets])
    assert dataset.times is not None
    assert dataset.time_unit == unit
    mine = dataset.times[dataset.offsets[1] :]
    assert mine.tolist() == sorted(NOW * PER_SECOND[unit] + offset for offset in offsets)
    gaps = dataset.gaps()
    assert gaps.dtype == np.float32
    assert gaps[0] == gaps[1] == -1
    np.testing.assert_allclose(gaps[2:], np.diff(sorted(offsets)) / PER_SECOND[unit], rtol=1e-6)


FINE = [
    pl.Series([NOW * 10**9 + 1, NOW * 10**9]).cast(pl.Datetime("ns")),
    pl.Series(["2024-01-31T10:00:00.000000001Z", "2024-01-31T10:00:00.000000000Z"]),
    pl.Series([f"{NOW}.000000001", f"{NOW}.0"]), pl.Series([f"{NOW}000.000001", f"{NOW}000"]),
    pl.Series([f"{NOW}.000000001", f"{NOW}.000000000"]).cast(pl.Decimal(20, 9)),
    pl.Series([f"{NOW}000000001", f"{NOW}000000000"]), pl.Series([NOW * 10**9 + 1, NOW * 10**9], dtype=pl.UInt64),
]  # fmt: skip


@pytest.mark.parametrize("times", FINE, ids=str)
def test_a_nanosecond_is_kept(times: pl.Series) -> None:
    dataset = log_of(times)
    assert (dataset.time_unit, order(dataset)) == ("ns", [1, 0])
    assert dataset.gaps()[2] == np.float32(1e-9)


@pytest.mark.parametrize("offset", [2**-22, 1e-6, 0.25])
def test_no_two_floats_become_one(offset: float) -> None:
    dataset = log_of([NOW + offset, float(NOW)])
    assert dataset.times is not None
    assert (dataset.time_unit, order(dataset)) == ("ns", [1, 0])
    assert dataset.gaps()[2] == pytest.approx(NOW + offset - NOW, abs=1e-9)


ORDER = [
    [2**64 - 1, 2**64 - 2], ["18446744073709551615", "18446744073709551614"], [5, 3], [1.5, 1.25],
    ["2024-01-31T10:00:00.0000000000002Z", "2024-01-31T10:00:00.0000000000001Z"],
    ["2900-01-31T10:00:00.0000002Z", "2900-01-31T10:00:00.0000001Z"], [f"{NOW}.0000000000002", f"{NOW}.0000000000001"],
]  # fmt: skip


@pytest.mark.parametrize("times", ORDER, ids=str)
def test_numbers_without_a_unit_keep_their_order_and_have_no_gaps(times: list[Any]) -> None:
    kind = pl.UInt64 if isinstance(times[0], int) else None
    dataset = log_of(pl.Series(times, dtype=kind))
    assert dataset.times is not None
    assert (dataset.time_unit, order(dataset)) == ("", [1, 0])
    with pytest.raises(ConfigError, match="expected the time of every event of frame; got numbers that tell an order"):
        dataset.gaps()


def test_pandas_keeps_its_nanoseconds() -> None:
    times = pd.to_datetime([NOW * 10**9 + 1, NOW * 10**9, NOW * 10**9])
    dataset = load_dataset(pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "timestamp": times}))
    assert dataset.times is not None
    assert (dataset.time_unit, dataset.times.tolist()) == ("ns", [NOW * 10**9, NOW * 10**9 + 1, NOW * 10**9])


def test_parts_of_several_precisions_keep_the_finest(tmp_path: Path) -> None:
    for name, unit, extra in (("1", "us", [0, 1]), ("2", "ns", [1, 2])):
        at = pl.Series([NOW * PER_SECOND[unit] + one for one in extra]).cast(pl.Datetime(unit))  # type: ignore[arg-type]
        pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "timestamp": at}).write_parquet(
            tmp_path / f"{name}.parquet"
        )
    dataset = load_dataset(tmp_path)
    assert dataset.times is not None
    assert dataset.time_unit == "ns"
    assert (dataset.times - NOW * 10**9).tolist() == [0, 1, 2, 1000]


def test_a_log_without_times_says_so() -> None:
    dataset = load_dataset("sample")
    assert dataset.times is None
    with pytest.raises(ConfigError, match="expected the time of every event of sample; got none"):
        dataset.gaps()


def test_unsorted_events_are_counted() -> None:
    assert log_of([NOW + 3, NOW + 1, NOW + 2, NOW + 4, NOW + 4]).unsorted == 2
    assert log_of([NOW, NOW + 1]).unsorted == 0


def test_times_are_read_only_and_dates_have_microseconds() -> None:
    dataset = log_of(["2024-01-02", "2024-01-01"])
    assert dataset.times is not None
    assert dataset.time_unit == "us"
    assert dataset.gaps()[2] == 86_400
    with pytest.raises(ValueError, match="read-only"):
        dataset.times[0] = 0
    assert read_times(pl.Series([None, None]), None, lambda row: "").values.null_count() == 2
