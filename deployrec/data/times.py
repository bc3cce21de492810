"""The time column as numbers that order the events; what can be read in two ways is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deployrec.data.dates import parse_dates
from deployrec.data.units import Times, of_decimals, of_floats, of_whole
from deployrec.errors import DataError
from deployrec.files import first_line
from deployrec.time_units import NAMES, UNIX

Where = Callable[[int], str]
WORDS = ("iso", "unix", "day-first", "month-first")
EXPECTED = {
    None: "a number or a date",
    "iso": "an ISO date",
    "unix": "a number",
    "day-first": "a date with the day first",
    "month-first": "a date with the month first",
}
SPELT = {"days like 20240131": 1, "times like 20240131101500": 10**6}
EXACT_FLOAT = 2**53


def check_time_format(time_format: str | None) -> None:
    """DataError for what is neither one of WORDS nor a strptime format."""
    if time_format is None or time_format in WORDS:
        return
    if "%" not in time_format:
        raise DataError(
            f"expected a time format out of {', '.join(WORDS)}, or one like '%m/%d/%Y %H:%M'; got '{time_format}'; "
            "choose one of them"
        )
    if "%f" in time_format.replace(".%f", ""):
        raise DataError(f"expected %f after a dot; got '{time_format}'; write the seconds as %S.%f")


def expected_time(time_format: str | None) -> str:
    """What a time that cannot be read should have been."""
    return EXPECTED.get(time_format, f"a time like '{time_format}'")


def read_times(times: pl.Series, time_format: str | None, where: Where) -> Times:
    """The times of a log, in its own unit, exact; null where one is missing or cannot be read.

    times   numbers, dates, or text of either
    where   the place of a row, for messages
    Raises DataError for a column that can be read in two ways: a day and month that no row tells apart, years of two
    digits, some times with a zone and some without, numbers in several units, or rounded to a few digits.
    """
    kind = times.dtype
    if isinstance(kind, pl.Categorical | pl.Enum):
        times = times.cast(pl.String)
    elif isinstance(kind, pl.Date | pl.Datetime):
        moments = times.cast(pl.Datetime("us")) if kind == pl.Date else times
        return Times(moments.cast(pl.Int64), moments.dtype.time_unit)  # type: ignore[attr-defined]
    elif kind == pl.Null:
        return Times(times.cast(pl.Int64))
    elif kind.is_decimal():
        times = times.cast(pl.String)
    elif not (kind.is_numeric() or kind == pl.String):
        raise DataError(
            f"expected times as numbers, dates or text; got a column of type {kind}; convert it, or pass --time ''"
        )
    if time_format is not None and "%" in time_format:
        return _read_format(times.cast(pl.String), time_format)
    if times.dtype == pl.String or time_format not in (None, "unix"):
        times = times.cast(pl.String)
        return _read_texts(times.str.strip_chars(), time_format, where)
    return _from_numbers(times, where)


def _from_numbers(numbers: pl.Series, where: Where) -> Times:
    if numbers.dtype.is_integer():
        whole = of_whole(numbers)
        _check_units(whole.values, where)
        return whole
    decimals = numbers.cast(pl.Float64)
    decimals = decimals.set(~decimals.is_finite().fill_null(True), None)
    _check_units(decimals, where)
    return of_floats(decimals)


def _read_texts(texts: pl.Series, time_format: str | None, where: Where) -> Times:
    """The reading that fits the most rows; a row of another kind comes back as null."""
    if time_format not in (None, "unix"):
        return parse_dates(texts, time_format, where)
    numbers = _read_numbers(texts, where)
    if time_format is None and numbers.null_count() > texts.null_count():
        dates = parse_dates(texts, time_format, where)
        if dates.values.null_count() < numbers.null_count():
            return dates
    exact = of_decimals(texts) if numbers.dtype.is_float() else None
    return exact or _from_numbers(numbers, where)


def _read_numbers(texts: pl.Series, where: Where) -> pl.Series:
    whole = texts.cast(pl.Int64, strict=False)
    if whole.null_count() > texts.null_count():
        whole = texts.cast(pl.UInt64, strict=False)
    if whole.null_count() == texts.null_count():
        return whole
    whole = texts.str.replace(r"\.0+$", "").cast(pl.Int64, strict=False)
    if whole.null_count() == texts.null_count():
        return whole
    decimals = texts.cast(pl.Float64, strict=False)
    decimals = decimals.set(~decimals.is_finite().fill_null(True), None)
    if decimals.null_count() >= whole.null_count():
        return whole
    _refuse_rounded(texts, decimals, where)
    return decimals


def _refuse_rounded(texts: pl.Series, decimals: pl.Series, where: Where) -> None:
    """Spreadsheets write 1.31E+12 for a long number: what is left has lost its order."""
    power = texts.str.extract(r"^\d(?:\.\d+)?[eE]\+?(\d+)$").cast(pl.Int64, strict=False)
    digits = texts.str.extract(r"^\d(?:\.(\d+))?[eE]").str.len_chars().fill_null(0)
    rounded = (power.is_not_null() & (digits < power) & (power < 16)).fill_null(False)
    read = len(texts) - decimals.null_count()
    if 2 * rounded.sum() > read:
        row = rounded.arg_true()[0]
        raise DataError(
            f"{where(row)}: expected times with all their digits; got '{texts[row]}', which has been rounded; "
            "write the column again as whole numbers"
        )
    beyond = (decimals.abs() > EXACT_FLOAT).fill_null(False)
    if beyond.any():
        row = beyond.arg_true()[0]
        raise DataError(
            f"{where(row)}: expected times that a decimal number can hold; got '{texts[row]}' in a column with "
            "decimals; write the column as whole numbers"
        )


def _check_units(numbers: pl.Series, where: Where) -> None:
    """DataError where all numbers look like times, but not in one unit."""
    values = numbers.drop_nulls().to_numpy()
    if not len(values) or float(values.max()) < UNIX["s"][0]:
        return
    found = {NAMES[unit]: (values >= least) & (values < most) for unit, (least, most) in UNIX.items()}
    units = [name for name, inside in found.items() if inside.any()]
    spelt = {name: _spelt_days(values, below) for name, below in SPELT.items()}
    everything = np.logical_or.reduce([*found.values(), *spelt.values()]).all()
    present = [*units, *(name for name, inside in spelt.items() if everything and inside.any())]
    if len(units) < 2 and len(present) < 2:
        return
    known = numbers.is_not_null().arg_true().to_numpy()
    places = [(int(known[np.argmax((found | spelt)[name])]), name) for name in present[:2]]
    (one, first), (other, second) = sorted(places)
    raise DataError(
        f"{where(other)}: expected times in one unit; got {numbers[other]} ({second}) where {where(one)} has "
        f"{numbers[one]} ({first}); convert them to one"
    )


def _spelt_days(values: NDArray[Any], below: int) -> NDArray[np.bool_]:
    """Which numbers are a day written as 20240131, with `below` times as much behind it; none if any is no day."""
    days = values // below
    inside = (days >= 19_000_101) & (days <= 21_001_231)
    month, day = days[inside] // 100 % 100, days[inside] % 100
    whole = ((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all()
    return inside if whole else np.zeros_like(inside)


def _read_format(texts: pl.Series, time_format: str) -> Times:
    unit: Literal["ns", "us"] = "ns" if "f" in time_format else "us"
    try:
        form = time_format.replace(".%f", "%.f")
        read = texts.str.strip_chars().str.to_datetime(form, strict=False, time_unit=unit)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"expected a format that tells the day of the year; got '{time_format}' ({first_line(error)}); name "
            "year, month and day, and %p beside %I"
        ) from error
    return Times(read.cast(pl.Int64), unit)
