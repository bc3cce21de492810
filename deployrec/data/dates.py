"""Dates as people and programs write them, read in the one way that fits all rows, or refused."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from deployrec.data.units import Times, of_parts
from deployrec.errors import DataError

Where = Callable[[int], str]
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip
CLOCK = (
    r"(?:(?:[Tt]|,?\s+)(?<hour>\d{1,2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:[.,](?<fraction>\d+))?)?"
    r"(?:\s*(?<half>[AaPp])\.?[Mm]\.?)?(?:\s*(?<zone>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?)?$"
)
NAME = r"(?<name>[A-Za-z]{3,9})\.?"
ISO = r"^(?<year>\d{4})[-/.](?<month>\d{1,2})[-/.](?<day>\d{1,2})" + CLOCK
ORDERED = r"^(?<first>\d{1,2})[-/. ](?<then>\d{1,2})(?:[-/.]|,?\s+)(?<year>\d{4})" + CLOCK
DAY_NAME = rf"^(?:[A-Za-z]{{3,9}},?\s+)?(?<day>\d{{1,2}})(?:[-/.]|\s+){NAME}(?:[-/.]|,?\s+)(?<year>\d{{4}})" + CLOCK
NAME_DAY = rf"^(?:[A-Za-z]{{3,9}},?\s+)?{NAME}\s+(?<day>\d{{1,2}}),?\s+(?<year>\d{{4}})" + CLOCK
SHORT_YEAR = r"^\d{1,2}[-/.](?:\d{1,2}|[A-Za-z]{3,9})[-/.]\d{2}(?:\D.*)?$"
MICROSECONDS, NANOSECONDS = 10**6, 10**9  # a second
READ_FAST = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.fZ")
"""What programs write, year first: parsed without a look at each part."""


def parse_dates(texts: pl.Series, order: str | None, where: Where) -> Times:
    """Microseconds since 1970, nanoseconds where a row has more digits; null for what is no date.

    order   "iso", "day-first", "month-first", or None to find out; DataError where the rows do not tell
    """
    if order in (None, "iso"):
        fast = _read_fast(texts)
        if fast is not None:
            return fast
    known = texts.is_not_null().sum()
    best: tuple[int, str, pl.Series] = (-1, ISO, texts)
    for pattern in (ISO,) if order == "iso" else (ORDERED,) if order else (ISO, ORDERED, DAY_NAME, NAME_DAY):
        fits = texts.str.contains(pattern)
        best = max(best, (int(fits.sum() or 0), pattern, fits), key=lambda one: one[0])
        if best[0] == known:
            break
    count, pattern, _ = best
    short = texts.str.contains(SHORT_YEAR)
    if (short.sum() or 0) > count:
        row = short.arg_true()[0]
        raise DataError(
            f"{where(row)}: expected years of four digits; got '{texts[row]}', which can be read in several ways; "
            "name the format with --time-format, such as '%m/%d/%y %H:%M'"
        )
    parts = texts.str.extract_groups(pattern).struct.unnest()
    if pattern == ORDERED:
        day, month = _day_and_month(texts, parts, order, where)
    elif "name" in parts.columns:
        day, month = parts["day"].cast(pl.Int64), _month_numbers(parts["name"])
    else:
        day, month = parts["day"].cast(pl.Int64), parts["month"].cast(pl.Int64)
    return _moments(parts.with_columns(day.alias("day"), month.alias("month")), texts, where)


def _read_fast(texts: pl.Series) -> Times | None:
    """Where all rows have one common form; None otherwise."""
    example = texts.drop_nulls().head(1)
    for form in READ_FAST:
        if example.str.to_datetime(form, strict=False).has_nulls():
            continue
        if not texts.str.contains(r"^\d{4}-\d{2}-\d{2}(?:$|[ T]\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?Z?$)").all():
            return None
        read = texts.str.to_datetime(form, strict=False, time_unit="us").cast(pl.Int64)
        return Times(read, "us") if read.null_count() == texts.null_count() else None
    return None


def _day_and_month(
    texts: pl.Series, parts: pl.DataFrame, order: str | None, where: Where
) -> tuple[pl.Series, pl.Series]:
    """Which of two numbers is the day: as `order` says, or as a number beyond 12 shows in some row."""
    first, then = parts["first"].cast(pl.Int64), parts["then"].cast(pl.Int64)
    by_first, by_then = (first > 12).fill_null(False), (then > 12).fill_null(False)
    if order is None:
        if by_first.any() and by_then.any():
            one, other = sorted((by_first.arg_true()[0], by_then.arg_true()[0]))
            raise DataError(
                f"{where(other)}: expected dates in one order; got '{texts[other]}' where {where(one)} has "
                f"'{texts[one]}'; write them in one, such as 2011-01-31"
            )
        if not by_first.any() and not by_then.any():
            _refuse_ambiguous(texts, first, then, parts["year"], where)
        order = "day-first" if by_first.any() else "month-first"
    return (first, then) if order == "day-first" else (then, first)


def _refuse_ambiguous(texts: pl.Series, first: pl.Series, then: pl.Series, year: pl.Series, where: Where) -> None:
    telling = (first != then).fill_null(False)
    rows = telling.arg_true()
    if not len(rows):
        return
    row = rows[0]
    a, b, in_year = int(first[row]), int(then[row]), int(year[row])
    readings = [f"{day} {MONTHS[month - 1]} {in_year}" for day, month in ((a, b), (b, a)) if day and month]
    raise DataError(
        f"{where(row)}: expected dates whose order is known; got '{texts[row]}', which is {' or '.join(readings)}, "
        "and no row tells which; pass --time-format day-first or month-first"
    )


def _month_numbers(names: pl.Series) -> pl.Series:
    """English month names, or their first three letters, as 1..12."""
    numbers = {name[:size].lower(): at for at, name in enumerate(MONTHS, 1) for size in (3, len(name))} | {"sept": 9}
    return names.str.to_lowercase().replace_strict(numbers, default=None, return_dtype=pl.Int64)


def _moments(parts: pl.DataFrame, texts: pl.Series, where: Where) -> Times:
    _refuse_mixed_zones(parts, texts, where)
    number = {name: pl.col(name).cast(pl.Int64).fill_null(0) for name in ("hour", "minute", "second")}
    half = pl.col("half").str.to_lowercase()
    hour = number["hour"] % 12 + pl.when(half == "p").then(12).otherwise(0)
    padded = [pl.col(name).cast(pl.String).str.zfill(width) for name, width in (("year", 4), ("month", 2), ("day", 2))]
    read = parts.select(
        day=pl.concat_str(padded, separator="-").str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64),
        hour=pl.when(half.is_null()).then(number["hour"]).otherwise(hour),
        minute=number["minute"],
        second=number["second"],
        fraction=pl.col("fraction").fill_null(""),
        offset=_offset_minutes(),
        sound=half.is_null() | number["hour"].is_between(1, 12),
    )
    good = pl.col("sound") & (pl.col("hour") < 24) & (pl.col("minute") < 60) & (pl.col("second") <= 60)
    seconds = (
        pl.col("day") * 86_400 + pl.col("hour") * 3_600 + (pl.col("minute") - pl.col("offset")) * 60 + pl.col("second")
    )
    whole, fraction = read.select(pl.when(good).then(seconds).alias("whole"), "fraction").get_columns()
    if (fraction.str.len_chars() > 6).any():
        return of_parts(whole, fraction.str.strip_chars_end("0"), NANOSECONDS)
    return Times(whole * MICROSECONDS + fraction.str.pad_end(6, "0").cast(pl.Int64), "us")


def _offset_minutes() -> pl.Expr:
    zone = pl.col("zone").str.replace(":", "", literal=True)
    hours, minutes = (
        zone.str.slice(1, 2).cast(pl.Int64, strict=False),
        zone.str.slice(3, 2).cast(pl.Int64, strict=False),
    )
    size = hours.fill_null(0) * 60 + minutes.fill_null(0)
    return pl.when(zone.str.starts_with("-")).then(-size).when(zone.str.starts_with("+")).then(size).otherwise(0)


def _refuse_mixed_zones(parts: pl.DataFrame, texts: pl.Series, where: Where) -> None:
    with_zone = parts["zone"].is_not_null()
    without = parts["year"].is_not_null() & ~with_zone
    if with_zone.any() and without.any():
        one, other = sorted((with_zone.arg_true()[0], without.arg_true()[0]))
        raise DataError(
            f"{where(other)}: expected a time zone in all times or in none; got '{texts[other]}' where {where(one)} "
            f"has '{texts[one]}'; write all of them in UTC"
        )
