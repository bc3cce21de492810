"""Events as callers give them: checked whole before anything is applied, and read into one plain form."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from enum import Enum
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np

from deployrec.errors import DataError

Id = str | int
"""A user's, item's or event's own id; 7, "7" and 7.0 are the same."""
Time = float | int | str | datetime | np.datetime64
"""A moment: a number, a datetime, or ISO 8601 text; datetimes and texts without a time zone are UTC. A number counts
the unit of the log that a time-aware bundle was trained on, and is whatever the caller means with any other bundle.
What is finer than the unit is rounded down (see `deployrec.runtime.clock`)."""
NO_TIME = -(2**63)
"""An event's or a user's time where none is known."""
MOST_SEQUENCE = 2**63 - 1
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
    """an event of that id, or of its sequence or a later one from its source, was applied before"""
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
    """One interaction; user, item and event id are the caller's own ids, None or "" where an event has no id.

    sequence: the event's place in its source's order, a whole number from 0 (the offset in a partition of a log, a
    counter of the user's); at or below the highest one of that user and source that was applied it is a duplicate.
    source: which order that is, where there are several.
    """

    user: Id
    item: Id
    event_id: Id | None = None
    time: Time | None = None
    sequence: int | None = None
    source: Id | None = None


class Observation(NamedTuple):
    """A checked event of one user."""

    row: int
    """the item's, in the item table"""
    item: str
    event_id: str | None
    event_hash: bytes
    """`event_hash(event_id)`, empty without an id"""
    time: int
    """in the unit of the bundle's clock; NO_TIME without one"""
    mark: tuple[str, int] | None
    """source and sequence"""


def event_fields(value: Any) -> Sequence[Any]:
    """The fields of an Event, of a tuple (user, item, ...) in its order, or of a mapping of its names.

    Only the form is checked, not what the fields hold; raises DataError.
    """
    kind = type(value)
    if kind is Event:
        return value
    if kind in (tuple, list) and 2 <= len(value) <= len(Event._fields):
        return value
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()  # another named tuple may have its fields in another order
    if not isinstance(value, Mapping):
        raise DataError(
            f"expected an event as a tuple (user, item, event_id, time), a mapping or an Event; got {shown(value)}; "
            "give a list of such events"
        )
    if not {"user", "item"} <= value.keys() <= set(Event._fields):
        raise DataError(
            "expected an event with user, item and, where known, event_id, time, sequence and source; "
            f"got {shown(list(value))}; name exactly these"
        )
    return Event(**value)


def event_mark(sequence: Any, source: Any) -> tuple[str, int] | None:
    """Source ("" for the unnamed one) and sequence of an event, None for one without; raises DataError."""
    if sequence is None:
        if source is None:
            return None
        raise DataError(f"expected a sequence of the source {shown(source)}; got none; give both or neither")
    if not _is_whole(sequence) or not 0 <= sequence <= MOST_SEQUENCE:
        raise DataError(
            f"expected a sequence as a whole number from 0 to {MOST_SEQUENCE}; got {shown(sequence)}; "
            "leave it out where there is none"
        )
    return "" if source is None else id_text(source, "a source"), int(sequence)


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
    do = "leave the event out" if what in ("a user id", "an item id") else "leave it out where there is none"
    raise DataError(f"expected {what} as text or a whole number; got {shown(value)}; {do}")


def items_of(value: object) -> list[object]:
    """The items of a history, oldest first, as a list; refuses text, mappings and sets, which hold no such order."""
    return _listed(value, "item ids, oldest first", 'give a list such as ["1193", "661"]')


def events_of(value: object) -> list[object]:
    """The events of a batch as a list, read to its end before anything is applied."""
    return _listed(value, "events", 'give a list such as [("alice", "1062"), ("bob", "661")]')


def times_of(value: object, number: int) -> list[Any]:
    """One time (see `Time`), or None, of each of so many; raises DataError for another number."""
    listed = _listed(value, "times", 'give a list such as ["2026-01-31T12:00:00Z", None]')
    if len(listed) != number:
        raise DataError(f"expected a time, or None, for each of {number:,}; got {len(listed):,}; give as many")
    return listed


def users_of(value: object) -> list[object]:
    """Users as a list; refuses text."""
    return _listed(value, "user ids", 'give a list such as ["alice", "bob"]')


def event_hash(event_id: str) -> bytes:
    """64 bits of the id."""
    hashed = _COPY()  # half of what a new one takes
    hashed.update(event_id.encode())
    return hashed.digest()


_COPY = blake2b(digest_size=8).copy


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
