"""Times as whole numbers of one unit: exact to the nanosecond, and never in another order than they were written."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deployrec.time_units import PER_SECOND, UNIX

DECIMAL = r"^([+-]?\d{1,18})(?:\.(\d*?)0*)?$"
MOST = 2**63 - 1


class Times(NamedTuple):
    """A log's times, null where one is missing or cannot be read.

    values   int64 [M], in the order of the times
    unit     "s", "ms", "us" or "ns" since 1970; "" where they tell an order and no more
    """

    values: pl.Series
    unit: str = ""


def of_whole(numbers: pl.Series) -> Times:
    """Times of integers of any width; those beyond int64 keep their order and lose their unit."""
    if numbers.dtype in (pl.UInt64, pl.Int128):
        most = numbers.max()
        if most is not None and int(most) > MOST:  # type: ignore[arg-type]
            return _order(numbers)
    values = numbers.cast(pl.Int64, strict=False)
    return Times(values, _unit(values))


def of_floats(numbers: pl.Series) -> Times:
    """Times of finite float64: Unix time with a fraction becomes nanoseconds, in which no two floats are one."""
    present = numbers.drop_nulls()
    if (present == present.round()).all() and (present.abs() <= MOST // 2).all():
        return of_whole(numbers.cast(pl.Int64))
    unit = _unit(numbers)
    if not unit:
        return _order(numbers)
    scale = PER_SECOND["ns"] // PER_SECOND[unit]
    whole = numbers.floor()
    return Times(whole.cast(pl.Int64) * scale + ((numbers - whole) * scale).round().cast(pl.Int64), "ns")


def of_decimals(texts: pl.Series) -> Times | None:
    """Times of Unix time written with a fraction, every digit counted; None where a text is something else."""
    parts = texts.str.extract_groups(DECIMAL).struct.unnest()
    whole, fraction = parts["1"].cast(pl.Int64, strict=False), parts["2"].fill_null("")
    unit = _unit(whole)
    if whole.null_count() > texts.null_count() or not unit:
        return None
    scale = PER_SECOND["ns"] // PER_SECOND[unit]
    return of_parts(whole, fraction, scale)


def of_parts(whole: pl.Series, fraction: pl.Series, scale: int) -> Times:
    """Times of `whole` units of `scale` nanoseconds and the digits behind their decimal point; null where whole is.

    More digits than nanoseconds have, and years that int64 cannot hold in nanoseconds, leave the order alone.
    """
    digits = len(str(scale)) - 1
    far = (whole.abs() > MOST // scale - 1).any()
    if far or (fraction.str.len_chars() > digits).any():
        longest = int(fraction.str.len_chars().max() or 0)  # type: ignore[arg-type]
        padded = fraction.str.pad_end(longest, "0")
        return _order(pl.DataFrame({"whole": whole, "fraction": padded}).to_struct(), whole.is_null())
    nanoseconds = ("0" + fraction.str.pad_end(digits, "0")).cast(pl.Int64)
    return Times(whole * scale + nanoseconds, "ns")


def resolution(times: NDArray[np.int64], unit: str) -> str:
    """The coarsest of day, hour, minute, second, ... of which all times are whole ones."""
    steps = {"day": 86_400 * 10**9, "hour": 3_600 * 10**9, "minute": 60 * 10**9, "second": 10**9, "millisecond": 10**6}
    steps |= {"microsecond": 10**3, "nanosecond": 1}
    own = 10**9 // PER_SECOND[unit]
    return next(name for name, step in steps.items() if step <= own or not (times % (step // own)).any())


def when(time: int, unit: str) -> str:
    """A time as an ISO date and time, UTC, to the second."""
    return str(np.datetime64(time // PER_SECOND[unit], "s")).replace("T", " ")


def _order(values: pl.Series, missing: pl.Series | None = None) -> Times:
    ranks = values.rank("dense").cast(pl.Int64)
    return Times(ranks if missing is None else ranks.set(missing, None))


def _unit(numbers: pl.Series) -> str:
    """The unit of which all numbers look like Unix time; "" for those that only count."""
    least, most = numbers.min(), numbers.max()
    if least is None:
        return ""
    return next((unit for unit, (low, high) in UNIX.items() if low <= least and most < high), "")  # type: ignore[operator]
