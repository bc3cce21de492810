"""Times are read in the order they happened, or refused: never in another."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployrec.data import load_dataset
from deployrec.data.times import read_times
from deployrec.errors import DataError

MOMENTS = st.lists(
    st.datetimes(dt.datetime(1600, 1, 1), dt.datetime(2900, 1, 1)).map(lambda at: at.replace(microsecond=0)),
    min_size=1,
    max_size=8,
)
# How a moment is written, and how much of it.
FORMATS = [
    ("%Y-%m-%d %H:%M:%S", "second"), ("%Y-%m-%dT%H:%M:%SZ", "second"), ("%Y-%m-%dT%H:%M:%S.000000", "second"),
    ("%Y-%m-%dT%H:%M:%S+00:00", "second"), ("%Y-%m-%d %H:%M:%S UTC", "second"), ("%Y/%m/%d %H:%M", "minute"),
    ("%Y-%m-%d", "day"), ("%d %B %Y %H:%M:%S", "second"), ("%d-%b-%Y", "day"), ("%B %d, %Y", "day"),
    ("%a, %d %b %Y %H:%M:%S GMT", "second"), ("%Y-%m-%d %I:%M:%S %p", "second"), ("%Y-%m-%d, %I:%M %p", "minute"),
]  # fmt: skip
TOLD = [("%d/%m/%Y %H:%M", "day-first"), ("%m/%d/%Y %H:%M", "month-first"), ("%d.%m.%Y %H:%M", "day-first"),
        ("%m-%d-%Y %I:%M %p", "month-first"), ("%Y%m%d %H%M", "%Y%m%d %H%M"), ("%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M"),
        ("%m %d, %Y %H:%M", "month-first")]  # fmt: skip
UNIT = {"second": 1, "minute": 60, "day": 86_400}


def where(row: int) -> str:
    return f"row {row + 1}"


def read(texts: Sequence[str | None], time_format: str | None = None) -> list[Any]:
    """Numbers, and None for what is no time."""
    return read_times(pl.Series(texts, dtype=pl.String), time_format, where).values.to_list()


def written(moment: dt.datetime, form: str) -> str:
    # strftime drops the zeros of years before 1000 on some systems; ours are later.
    return moment.strftime(form)


def seconds(moment: dt.datetime, unit: int = 1) -> int:
    return int((moment - dt.datetime(1970, 1, 1)).total_seconds()) // unit * unit


@given(MOMENTS, st.sampled_from(FORMATS))
def test_every_moment_is_read_as_what_it_is(moments: list[dt.datetime], form: tuple[str, str]) -> None:
    expected = [seconds(moment, UNIT[form[1]]) * 10**6 for moment in moments]
    assert read([written(moment, form[0]) for moment in moments]) == expected


@given(MOMENTS, st.sampled_from(TOLD))
def test_a_named_order_is_followed(moments: list[dt.datetime], form: tuple[str, str]) -> None:
    expected = [seconds(moment, 60) * 10**6 for moment in moments]
    assert read([written(moment, form[0]) for moment in moments], form[1]) == expected


@given(MOMENTS, st.sampled_from(["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y %H:%M", "%m-%d-%Y %I:%M %p"]))
def test_an_order_is_found_right_or_not_at_all(moments: list[dt.datetime], form: str) -> None:
    unit = 60 if "M" in form else 86_400
    try:
        found = read([written(moment, form) for moment in moments])
    except DataError:
        assert all(moment.day <= 12 for moment in moments)
        return
    assert found == [seconds(moment, unit) * 10**6 for moment in moments]
    assert any(moment.day > 12 for moment in moments) or all(moment.day == moment.month for moment in moments)


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1))
def test_whole_numbers_are_exact(numbers: list[int]) -> None:
    small = [number % 10**8 for number in numbers]
    assert read([str(number) for number in small]) == small
    nanoseconds = [17 * 10**17 + number % 10**17 for number in numbers]
    assert read([str(number) for number in nanoseconds]) == nanoseconds
    assert read([f"{number}.0" for number in nanoseconds]) == nanoseconds
    assert read([f" {number} " for number in nanoseconds]) == nanoseconds


@pytest.mark.parametrize("numbers", [[1, 20240131, 10**9], [20240132, 10**9], [10**8, 10**10 - 1], [0, 10**12], [5e9]])
def test_numbers_that_only_count_are_no_times(numbers: list[float]) -> None:
    assert read_times(pl.Series(numbers), None, where).values.to_list() == numbers


def test_fractions_and_zones_are_exact() -> None:
    texts = ["2024-01-31T10:00:00.123456789Z", "2024-01-31T12:00:00.123456788+02:00", "2024-01-31 04:30:00,1-0530"]
    first, second, third = read(texts)
    assert first == 1706695200_123456789
    assert first - second == 1
    assert third == 1706695200_100000000
    assert read(["2024-01-31 10:00:00.25", "2024-01-31 10:00"]) == [1706695200_250000, 1706695200_000000]


REFUSED = [
    (
        ["1/10/2011 8:26", "2/1/2011 9:02"],
        None,
        "row 1: .*'1/10/2011 8:26', which is 1 October 2011 or 10 January 2011",
    ),
    (["5.5.2024", "05.06.2024"], None, "row 2: .*5 June 2024 or 6 May 2024"),
    (["13/1/2024", "1/13/2024"], None, "row 2: expected dates in one order; got '1/13/2024' where row 1 has"),
    (["1/2/11", "2/1/11"], None, "row 1: expected years of four digits; got '1/2/11'"),
    (["12/31/10 8:26"], None, "four digits"),
    (["24-01-31"], "iso", "four digits"),
    (["1-Feb-11"], None, "four digits"),
    (["2024-01-31T10:00:00Z", "2024-01-31T11:00:00"], None, "row 2: expected a time zone in all times or in none"),
    (["2024-01-31 10:00+02:00", "2024-02-01"], None, "time zone in all"),
    (["1700000000", "1700000001000"], None, r"row 2: expected times in one unit; got .*\(milliseconds\) where row 1"),
    (["1700000000", "1700000001.5", "1700000001000"], None, "in one unit"),
    (["1700000000000000", "1700000000000000000"], "unix", "in one unit"),
    (["20240131", "20240131101500"], None, r"row 2: .*times like 20240131101500.* where row 1 has 20240131 \(days"),
    (["20240131", "1700000000"], None, r"days like 20240131"),
    (["1.31E+12", "1.32E+12", "1.31E+12"], None, "row 1: expected times with all their digits; got '1.31E\\+12'"),
    (["1700000000000000001", "1700000000000000000.5"], None, "that a decimal number can hold"),
]


@pytest.mark.parametrize(("texts", "time_format", "message"), REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(texts: list[str], time_format: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(list(texts), time_format)
    assert "\n" not in str(caught.value)


UNREAD = [
    (["2024-01-31", "2024-02-30"], None, 1), (["2024-01-31", "soon"], None, 1), (["5", "2024-01-31", "7"], None, 1),
    (["2024-01-31 24:00", "2024-01-31 10:61", "2024-01-31 13:00 PM", "2024-01-31 10:00"], None, 0),
    (["1700000000", "nan", "inf"], None, 1), (["2024-01-31", "1700000000"], "iso", 1), (["7", "2024-01-31"], "unix", 1),
    (["31/01/2024", "13/13/2024"], "day-first", 1), (["2024-01-31 10:00 EST", "2024-01-31 10:00"], None, 0),
    (["2024-01-31", None, ""], None, 1), (["10:05", "10:06"], None, 0),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "time_format", "row"), UNREAD)
def test_what_is_no_time_comes_back_as_null(texts: list[str | None], time_format: str | None, row: int) -> None:
    assert read(texts, time_format)[row] is None


def test_two_digit_years_and_clocks_are_read_by_their_format() -> None:
    assert read(["12/31/10 8:26"], "%m/%d/%y %H:%M") == [seconds(dt.datetime(2010, 12, 31, 8, 26)) * 10**6]
    halves = read(["1/2/2024 01:00 PM", "1/2/2024 11:00 AM"], "%d/%m/%Y %I:%M %p")
    assert halves[0] - halves[1] == 2 * 3600 * 10**6
    fine = read(["1/2/2024 1:00:00.5", "1/2/2024 1:00:00.25"], "%d/%m/%Y %H:%M:%S.%f")
    assert fine[0] - fine[1] == 250_000_000


@pytest.mark.parametrize(
    ("time_format", "message"),
    [("us", "expected a time format out of iso"), ("%d/%m/%Y %I:%M", "%p beside %I"), ("%S,%f", "%f after a dot")],
)
def test_a_time_format_that_is_none_is_refused(tmp_path: Path, time_format: str, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\na,x,1/2/2024 1:00\nb,y,1/2/2024 1:00\n")
    with pytest.raises(DataError, match=message):
        load_dataset(path, time_format=time_format)


TYPED = [
    pl.Series([dt.date(2024, 1, 2), dt.date(2024, 1, 1)]),
    pl.Series([dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 1)]).dt.cast_time_unit("ms"),
    pl.Series([dt.datetime(2024, 1, 2), dt.datetime(2024, 1, 1)]).dt.replace_time_zone("Europe/Berlin"),
    pl.Series([2.5, 1.5]), pl.Series([2, 1], dtype=pl.UInt8), pl.Series(["2", "1"], dtype=pl.Categorical),
    pl.Series(["2.50", "1.5"]).cast(pl.Decimal(10, 2)), pl.Series([2, 1], dtype=pl.Int128),
]  # fmt: skip


@pytest.mark.parametrize("times", TYPED, ids=lambda times: str(times.dtype))
def test_typed_times_are_ordered(times: pl.Series) -> None:
    later, earlier = read_times(times, None, where).values.to_list()
    assert later > earlier


@pytest.mark.parametrize("kind", [pl.Boolean, pl.Time, pl.List(pl.Int64), pl.Binary], ids=str)
def test_other_types_are_refused(kind: pl.DataType) -> None:
    with pytest.raises(DataError, match="expected times as numbers, dates or text; got a column of type"):
        read_times(pl.Series([None, None], dtype=kind), None, where)
