"""Events as callers give them: checked whole before anything is applied, and read into one plain form."""

from __future__ import annotations

import hashlib
import math
import reprlib
from collections.abc import Iterable, Mapping, Set
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from deployrec.errors import DataError

Id = str | int
"""A user's, item's or event's own id; 7, "7" and 7.0 are the same."""
Time = float | int | str | datetime | np.datetime64
"""A moment: a number in any unit of the caller's, a datetime, or ISO 8601 text. Datetimes and texts become seconds
since 1970 in UTC, those without a time zone read as UTC."""
WHOLE = 2**53
"""Below it, a float that is a whole number is that number exactly."""


class Outcome(int, Enum):
    """What became of an event. True (and 1 in a sum) only for an applied one."""

    def __new__(cls, value: str, applied: int) -> Outcome:
        outcome = int.__new__(cls, applied)
        outcome._value_ = value
        return outcome

    APPLIED = "applied", 1
    DUPLICATE = "duplicate", 0
    """an event of that id was applied before"""
    UNKNOWN_ITEM = "unknown item", 0
    """the catalogue does not know the item, and `on_unknown_item` is "skip"."""

    # As numbers the last two are equal.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    __hash__ = Enum.__hash__

    def __repr__(self) -> str:
        return f"Outcome.{self.name}"

    def __str__(self) -> str:
        return str(self.value)


class Event(NamedTuple):
    """One interaction; user, item and event id are the caller's own ids."""

    user: Id
    item: Id
    event_id: Id | None = None
    time: Time | None = None


class Observation(NamedTuple):
    """A checked event of one user: its item as a row of the item table and as the own id, its time as a number."""

    row: int
    item: str
    event_id: str | None = None
    event_hash: bytes = b""
    """`event_hash(event_id)`, empty without an id"""
    time: float | None = None


def event_fields(value: Any) -> tuple[Any, Any, Any, Any]:
    """User, item, event id and time of an Event, a tuple (user, item[, event_id[, time]]) or a mapping of those names.

    Only the form is checked, not what the fields hold; raises DataError.
    """
    kind = type(value)
    if kind is Event:
        return value
    if kind in (tuple, list) and 2 <= len(value) <= 4:
        return (*value, None, None)[:4]
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()  # another named tuple may have its fields in another order
    if not isinstance(value, Mapping):
        raise DataError(
            f"expected an event as a tuple (user, item, event_id, time), a mapping or an Event; got {shown(value)}; "
            "give a list of such events"
        )
    if not {"user", "item"} <= value.keys() <= set(Event._fields):
        raise DataError(
            "expected an event with user, item and, where known, event_id and time; "
            f"got {shown(list(value))}; name exactly these"
        )
    return value["user"], value["item"], value.get("event_id"), value.get("time")


def id_text(value: Any, what: str) -> str:
    """The one text of an id: text that UTF-8 can hold, or a whole number of any type; raises DataError."""
    if type(value) is int:
        return str(value)
    if isinstance(value, str):
        # Of a subclass, such as numpy's or an enum's, only the text itself.
        text = value if type(value) is str else str.__str__(value)
        if text and (text.isascii() or _is_unicode(text)):
            return text
    elif _is_whole(value):
        return str(int(value))
    do = "leave it out where there is none" if what == "an event id" else "leave the event out"
    raise DataError(f"expected {what} as text or a whole number; got {shown(value)}; {do}")


def seconds(value: object) -> float:
    """A moment as a finite number (see `Time`); raises DataError for anything else."""
    number: Any = value
    if isinstance(value, str):
        try:
            number = datetime.fromisoformat(value)
        except ValueError:
            raise _no_time(value) from None
    elif isinstance(value, np.datetime64):
        number = np.nan if np.isnat(value) else value.astype("datetime64[ns]").astype(np.int64).item() / 1e9
    if type(number) is date:
        number = datetime(number.year, number.month, number.day)
    if isinstance(number, datetime):
        try:
            number = (number if number.tzinfo else number.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):  # pandas' missing time is a datetime too
            raise _no_time(value) from None
    if isinstance(number, bool) or not isinstance(number, (int, float, np.integer, np.floating)):
        raise _no_time(value)
    try:
        number = float(number)
    except OverflowError:
        raise _no_time(value) from None
    if not math.isfinite(number):
        raise _no_time(value)
    return number


def items_of(value: object) -> list[object]:
    """The items of a history, oldest first, as a list; refuses text, mappings and sets, which hold no such order."""
    return _listed(value, "item ids, oldest first", 'give a list such as ["1193", "661"]')


def events_of(value: object) -> list[object]:
    """The events of a batch as a list, read to its end before anything is applied."""
    return _listed(value, "events", 'give a list such as [("alice", "1062"), ("bob", "661")]')


def event_hash(event_id: str) -> bytes:
    """64 bits of the id."""
    return hashlib.blake2b(event_id.encode(), digest_size=8).digest()


def shown(value: Any) -> str:
    """A value with its type, short enough for one line."""
    text = " ".join(reprlib.repr(value).split()).encode("ascii", "backslashreplace").decode()
    return f"{text} ({type(value).__name__})"


def _listed(value: object, what: str, do: str) -> list[object]:
    if isinstance(value, (str, bytes, bytearray, Mapping, Set, Event)) or not isinstance(value, Iterable):
        raise DataError(f"expected a list of {what}; got {shown(value)}; {do}")
    return list(value)


def _is_whole(value: Any) -> bool:
    if isinstance(value, (float, np.floating)):
        return abs(float(value)) < WHOLE and float(value).is_integer()
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold the text: half of a surrogate pair is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_time(value: object) -> DataError:
    return DataError(
        f"expected a time as a finite number, a datetime or ISO text such as 2026-01-31T12:00:00Z; got {shown(value)}; "
        "leave it out where there is none"
    )
