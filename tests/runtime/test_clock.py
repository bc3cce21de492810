"""Moments are read exactly, in the log's own unit, and how long ago they were is what training computed."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployrec.data import load_dataset
from deployrec.errors import DataError
from deployrec.runtime.books import newest_time
from deployrec.runtime.clock import Clock, of_text
from deployrec.runtime.events import NO_TIME
from deployrec.time_units import PER_SECOND

AT = 1_769_860_800
"""2026-01-31T12:00:00Z"""
UNITS = st.sampled_from(["s", "ms", "us", "ns"])
MOMENTS = st.integers(-(2**62), 2**62)


@pytest.mark.parametrize(
    ("value", "nanoseconds"),
    [
        *(("2026-01-31T12:00:00Z", 0), ("2026-01-31 13:00:00+01:00", 0), ("2026-01-31T12:00:00", 0)),
        *(("2026-01-31", -43_200 * 10**9), (date(2026, 1, 31), -43_200 * 10**9)),
        *(("2026-01-31T12:00:00.5", 5 * 10**8), ("2026-01-31T12:00:00.123456789Z", 123_456_789)),
        *(("2026-01-31T12:00:00,1234567+00:00", 123_456_700), ("2026-01-31T12:00:00.1234567899", 123_456_789)),
        (datetime(2026, 1, 31, 12, 0, 0, 1), 1000),
        (datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2))), 0),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), 0),
        (pd.Timestamp("2026-01-31T12:00:00.000000001"), 1),
        (pd.Timestamp("2026-01-31T13:00:00.000000001", tz="Europe/Paris"), 1),
        (np.datetime64("2026-01-31T12:00:00.000000001"), 1),
        (np.datetime64("2026-01-31T12"), 0),
        (np.datetime64("2026-02"), 43_200 * 10**9),
    ],
)
def test_datetimes_and_texts_are_exact_to_the_nanosecond(value: Any, nanoseconds: int) -> None:
    assert Clock("ns").read(value) == Clock().read(value) == AT * 10**9 + nanoseconds
    for unit, count in PER_SECOND.items():
        assert Clock(unit).read(value) == (AT * 10**9 + nanoseconds) * count // 10**9


def test_what_is_finer_than_a_nanosecond_is_rounded_down() -> None:
    assert Clock().read(np.datetime64(1999, "ps")) == 1
    assert Clock().read(np.datetime64(-1, "fs")) == -1


@pytest.mark.parametrize(
    ("value", "number"),
    [(AT, AT), (np.int32(AT), AT), (AT + 0.75, AT), (-0.5, -1), (np.float32(1.5), 1), (2**53 + 1, 2**53 + 1), (0, 0)],
)
def test_numbers_are_in_the_unit_itself_rounded_down(value: Any, number: int) -> None:
    assert Clock().read(value) == number
    if number < 2**33:
        assert Clock("s").read(value) == number


@pytest.mark.parametrize(
    ("unit", "value", "looks"),
    [("s", AT * 1000, "milliseconds"), ("s", AT * 10**9, "nanoseconds"), ("ms", AT, "seconds"), ("ns", AT, "seconds")],
)
def test_a_number_of_another_unit_is_told_apart(unit: str, value: int, looks: str) -> None:
    with pytest.raises(DataError, match=rf"^expected a time in \w+ since 1970.*got {value} \(int\), which looks like"):
        Clock(unit).read(value)
    with pytest.raises(DataError, match=f"looks like {looks}; convert it$"):
        Clock(unit).read(value)


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**400, "9999-12-31", 1.7e18, -(2.0**53), pd.NaT], ids=str)
def test_what_64_bits_or_a_float_cannot_hold_exactly_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"^expected a time .*; got .*; ") as error:
        Clock("ns").read(value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "number"), [("1769860800", AT), ("1769860800.9", AT), ("2026-01-31T12:00", AT), ("-5", -5)]
)
def test_on_a_command_line_digits_are_a_number(text: str, number: int) -> None:
    assert Clock("s").read(of_text(text)) == number


def test_a_datetime_without_a_zone_is_utc_whatever_the_machine_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        read = Clock("s").read
        assert read(datetime(1970, 1, 1)) == read("1970-01-01") == read(np.datetime64("1970-01-01")) == 0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_now_is_the_wall_clock() -> None:
    for unit, count in PER_SECOND.items():
        assert abs(Clock(unit).now() / count - time.time()) < 10


@given(UNITS, st.lists(st.integers(10**17, 2 * 10**18), min_size=2, max_size=9))
def test_elapsed_is_what_the_data_set_says_of_the_same_events(unit: str, nanoseconds: list[int]) -> None:
    times = sorted(each * PER_SECOND[unit] // 10**9 for each in nanoseconds)
    users, items = [1] * len(times) + [2] * 2, [*range(len(times)), 0, 1]
    data = load_dataset(pd.DataFrame({"user_id": users, "item_id": items, "timestamp": [*times, *times[:2]]}))
    assert data.time_unit == unit
    clock, moments = Clock(unit), np.array(times)
    found = [clock.elapsed(moments[n : n + 1], int(moments[n + 1])).item() for n in range(len(moments) - 1)]
    assert found == data.gaps()[1 : len(times)].tolist()


@given(UNITS, st.lists(MOMENTS | st.just(NO_TIME), min_size=1, max_size=5), MOMENTS)
def test_elapsed_is_never_negative_but_unknown(unit: str, last: list[int], now: int) -> None:
    found = Clock(unit).elapsed(np.array(last), now)
    assert found.dtype == np.float32
    for moment, elapsed in zip(last, found.tolist(), strict=True):
        exact = -1.0 if moment == NO_TIME else max(0, now - moment) / PER_SECOND[unit]
        assert elapsed == float(np.float32(exact))
    assert (Clock(unit).elapsed(np.array(last), NO_TIME) == -1).all()


@given(UNITS, st.integers(10**17, 2**63 - 1), UNITS)
def test_histories_keep_moments_whatever_the_unit(unit: str, nanoseconds: int, other: str) -> None:
    moment = nanoseconds * PER_SECOND[unit] // 10**9
    kept = Clock(unit).kept(moment)
    assert Clock(unit).of_kept(kept) == moment
    assert Clock(other).of_kept(kept) == kept * PER_SECOND[other] // 10**9
    assert Clock().kept(moment) == kept  # told by its size
    assert Clock().kept(12) == Clock(unit).kept(NO_TIME) == NO_TIME
    assert Clock(unit).of_kept(NO_TIME) == NO_TIME


@given(MOMENTS | st.just(NO_TIME), st.lists(MOMENTS | st.just(NO_TIME)), st.integers(0, 20))
def test_a_split_of_a_history_changes_no_last_time(last: int, times: list[int], split: int) -> None:
    before, late = newest_time(last, times[:split])
    after, later = newest_time(before, times[split:])
    assert (after, late + later) == newest_time(last, times)
    known = [each for each in [last, *times] if each != NO_TIME]
    if len(known) == 1 + len(times):
        assert after == max(known)
