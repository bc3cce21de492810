"""Moments as callers give them, read as whole numbers of a log's own unit, and how long ago they were."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from deployrec.errors import DataError
from deployrec.runtime.events import NO_TIME, shown
from deployrec.state import UNKNOWN_TIME
from deployrec.time_units import DAY, NAMES, PER_SECOND, UNIX, days_of

EXACT_FLOAT = 2**53
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
NANOSECONDS = 10**9
FINER = re.compile(r"[.,]\d{6}(\d{1,3})")
"""Digits behind the microseconds, which `datetime` does not read."""
NUMBER = re.compile(r"[+-]?\d{1,25}(\.\d{0,25})?", re.ASCII)
NUMPY = {"W": 7 * DAY * NANOSECONDS, "D": DAY * NANOSECONDS, "h": 3_600 * NANOSECONDS, "m": 60 * NANOSECONDS}
NUMPY |= {unit: NANOSECONDS // count for unit, count in PER_SECOND.items()}
FINER_NUMPY = {"ps": 10**3, "fs": 10**6, "as": 10**9}


class Clock:
    """Reads moments in the `unit` of a time-aware bundle's log: "s", "ms", "us" or "ns" since 1970.

    "" for any other bundle: numbers stay what they are, and datetimes are nanoseconds. One with a `calendar` tells its
    graphs the day of a request too.
    """

    def __init__(self, unit: str = "", calendar: bool = False) -> None:
        self.unit = unit
        self._calendar = calendar
        self._per_second = PER_SECOND[unit or "ns"]

    def read(self, value: object) -> int:
        """A moment (see `Time`), not NO_TIME; raises DataError for anything else, and for a number that is far from the
        unit and looks like another one."""
        if type(value) is int:
            whole: int = value
            return self._checked(whole, value)
        number: Any = _text(value) if isinstance(value, str) else value
        if isinstance(number, np.datetime64):
            return self._checked(_numpy_nanoseconds(number) * self._per_second // NANOSECONDS, value)
        if isinstance(number, date):
            return self._checked(_nanoseconds(number, value) * self._per_second // NANOSECONDS, value)
        if isinstance(number, bool) or not isinstance(number, (int, float, np.integer, np.floating)):
            raise _no_time(value)
        if isinstance(number, (float, np.floating)):
            number = float(number)
            if not math.isfinite(number):
                raise _no_time(value)
            if abs(number) >= EXACT_FLOAT:
                raise DataError(
                    f"expected a time with all its digits; got {shown(value)}, a decimal number that has lost the last "
                    "of them; give a whole number, a datetime or ISO text"
                )
            number = math.floor(number)
        return self._checked(int(number), value)

    def now(self) -> int:
        """This moment."""
        return time.time_ns() * self._per_second // NANOSECONDS

    def asked(self, now: object) -> int | None:
        """The moment of a request: the one that is named, else this one, or None where the bundle is not time-aware."""
        if now is None:
            return self.now() if self.unit else None
        return self.read(now)

    def elapsed(self, last: np.ndarray, now: int | None) -> np.ndarray:
        """What graphs are told (see `TimeFacts.elapsed`) of requests at `now`, None for right after the events at
        `last`, int64 [B]."""
        if not self._calendar:
            return np.zeros(len(last), np.float32) if now is None else self._seconds(last, now)
        asked = last if now is None else np.full(len(last), now)
        told = np.stack([np.zeros(len(last)) if now is None else self._seconds(last, now), self._days(asked)], axis=1)
        told[(told < 0).any(axis=1)] = UNKNOWN_TIME
        return told.astype(np.float32)

    def kept(self, moment: int) -> int:
        """A moment as nanoseconds since 1970, as histories keep it whatever the bundle; NO_TIME where that cannot be
        told from a bare number."""
        if moment == NO_TIME:
            return NO_TIME
        found = [self.unit] if self.unit else [u for u, (least, most) in UNIX.items() if least <= moment < most]
        nanoseconds = moment * (NANOSECONDS // PER_SECOND[found[0]]) if found else NO_TIME
        return nanoseconds if abs(nanoseconds) < 2**63 else NO_TIME

    def of_kept(self, nanoseconds: int) -> int:
        """The moment that `kept` keeps."""
        return NO_TIME if nanoseconds == NO_TIME else nanoseconds * self._per_second // NANOSECONDS

    def _seconds(self, last: np.ndarray, now: int) -> np.ndarray:
        """Seconds float32 [B] from the events at `last`, int64 [B], to `now`: 0 of later ones, -1 where either is
        NO_TIME. Differences are taken in whole units, as those that the model was trained on."""
        if len(last) == 1 and now != NO_TIME:  # in a tenth of the time
            moment: int = last.item()
            seconds = UNKNOWN_TIME if moment == NO_TIME else float(max(0, now - moment)) / self._per_second
            return np.array([seconds], np.float32)
        if now == NO_TIME:
            return np.full(last.shape, UNKNOWN_TIME, np.float32)
        # As unsigned numbers, for between two moments there may be more nanoseconds than int64 holds.
        gaps = np.maximum(last, now).astype(np.uint64) - last.astype(np.uint64)
        return np.where(last == NO_TIME, UNKNOWN_TIME, gaps / self._per_second).astype(np.float32)

    def _days(self, moments: np.ndarray) -> np.ndarray:
        return np.where(moments == NO_TIME, UNKNOWN_TIME, days_of(moments, self.unit))

    def _checked(self, moment: int, value: object) -> int:
        """The moment, where 64 bits hold it (of a log in real time: its nanoseconds) and it has the unit's size."""
        if self.unit and not UNIX[self.unit][0] <= moment < UNIX[self.unit][1]:
            for unit, (least, most) in UNIX.items():
                if unit != self.unit and least <= moment < most:
                    raise DataError(
                        f"expected a time in {NAMES[self.unit]} since 1970, as the model's log has them; got "
                        f"{shown(value)}, which looks like {NAMES[unit]}; convert it"
                    )
        scale = NANOSECONDS // self._per_second if self.unit else 1
        if not -(2**63) < moment * scale < 2**63:
            raise DataError(
                f"expected a time that 64 bits hold{' in nanoseconds, 1678 to 2261' if self.unit else ''}; got "
                f"{shown(value)}; leave it out where there is none"
            )
        return moment


def of_text(text: str) -> int | float | str:
    """A moment that is a text for want of types, as in a query or on a command line: digits alone are a number."""
    if not NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)


def _text(text: str) -> datetime | np.datetime64:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise _no_time(text) from None
    finer = FINER.search(text)
    if finer is None:
        return found
    return np.datetime64(_nanoseconds(found, text) + int(finer[1].ljust(3, "0")), "ns")


def _nanoseconds(value: Any, given: object) -> int:
    """Nanoseconds since 1970 of a date or a datetime, in UTC where it has no time zone."""
    if value != value:  # pandas' missing time is a datetime too
        raise _no_time(given)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    zoned = value if value.tzinfo else value.replace(tzinfo=UTC)
    return int((zoned - EPOCH) // MICROSECOND) * 1000 + int(getattr(value, "nanosecond", 0))


def _numpy_nanoseconds(value: np.datetime64) -> int:
    if np.isnat(value):
        raise _no_time(value)
    unit, count = np.datetime_data(value.dtype)
    if unit in ("Y", "M"):
        value, unit, count = value.astype("datetime64[D]"), "D", 1
    whole = int(value.astype(np.int64)) * count
    return whole // FINER_NUMPY[unit] if unit in FINER_NUMPY else whole * NUMPY[unit]


def _no_time(value: object) -> DataError:
    return DataError(
        f"expected a time as a finite number, a datetime or ISO text such as 2026-01-31T12:00:00Z; got {shown(value)}; "
        "leave it out where there is none"
    )
