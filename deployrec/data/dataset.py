"""A data set in memory: a catalogue of items and, for each user, one chronological sequence of item rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deployrec.errors import ConfigError, DataError
from deployrec.time_units import PER_SECOND, days_of

Int64Array = NDArray[np.int64]
REPEATS = 0.05
"""The share of repeated events from which on a log is one of repeat purchases: shops that restock people have a third,
catalogues of films and reviews none."""


@dataclass(frozen=True)
class Origin:
    """Where a data set was read from: `load_dataset`'s source (None: a frame in memory), and options not at default."""

    source: str | None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Items, users and their events; arrays are read-only and shared, never copied.

    Rows 1..N are items in descending popularity, ties in order of first appearance in the log; row 0 is padding.
    Users stand in order of first appearance.

    name       what the data set is called ("ml-1m")
    items      frame of N rows; line i describes item row i + 1: item_id (str), title (str), popularity (int, events
               in the whole log, held-out ones included), further columns as they came (str)
    user_ids   the log's own ids, length U
    offsets    int64 [U + 1]; user u owns events[offsets[u]:offsets[u + 1]]
    events     int64 [M], item rows 1..N, chronological within a user
    times      int64 [M], when each event was, exact, in time_unit since 1970; ascending within a user. None: unknown
    time_unit  "s", "ms", "us" or "ns"; "" where the times tell an order and no more
    unsorted   events that stood in the log behind a later one of their user
    notes      what reading it had to say, a line each: rows that were skipped, events that repeat another
    origin     where it was read from, if it was
    """

    name: str
    items: pl.DataFrame
    user_ids: list[str]
    offsets: Int64Array
    events: Int64Array
    times: Int64Array | None = None
    time_unit: str = ""
    unsorted: int = 0
    notes: tuple[str, ...] = ()
    origin: Origin | None = None

    def __post_init__(self) -> None:
        for name in ("offsets", "events", *(() if self.times is None else ("times",))):
            array = np.ascontiguousarray(getattr(self, name), dtype=np.int64).view()
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __repr__(self) -> str:
        counts = f"{self.num_users:,} users, {self.num_items:,} items, {self.num_events:,} events"
        return f"Dataset({self.name}: {counts})"

    @property
    def num_items(self) -> int:
        """N, without the padding row."""
        return self.items.height

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.user_ids)

    @property
    def num_events(self) -> int:
        """M."""
        return len(self.events)

    def summary(self) -> dict[str, str | int]:
        """What runs and bundles record of the data: name, digest, num_users, num_items, num_events."""
        return {
            "name": self.name,
            "digest": self.digest,
            "num_users": self.num_users,
            "num_items": self.num_items,
            "num_events": self.num_events,
        }

    def history(self, user: int) -> Int64Array:
        """All item rows of user number `user`, oldest first: a read-only view."""
        return self.events[self.offsets[user] : self.offsets[user + 1]]

    def gaps(self) -> NDArray[np.float32]:
        """Seconds since the user's previous event, float32 [M]; -1 at a user's first.

        Differences are taken in whole units, before anything is rounded. Raises ConfigError where `times` are no
        times of day: there are none, or their unit is unknown.
        """
        times = self.clock()
        gaps = np.diff(times, prepend=0) / PER_SECOND[self.time_unit]
        gaps[self.offsets[:-1][self.offsets[:-1] < self.offsets[1:]]] = -1
        return gaps.astype(np.float32)

    def asked(self) -> NDArray[np.float32]:
        """What a server knows that is asked for each event at its time: `gaps`, and days since 1970, float32 [M, 2]."""
        return np.stack([self.gaps(), days_of(self.clock(), self.time_unit)], axis=1)

    def clock(self) -> Int64Array:
        """`times`, where they are times of day; ConfigError where there are none or their unit is unknown."""
        if self.times is None or not self.timed:
            got = "none" if self.times is None else "numbers that tell an order and no more"
            raise ConfigError(
                f"expected the time of every event of {self.name}; got {got}; name the column with --time and how it "
                "is written with --time-format, or do without time"
            )
        return self.times

    @property
    def timed(self) -> bool:
        """Whether `clock` and `gaps` have anything to say."""
        return self.times is not None and bool(self.time_unit)

    def renumbered(self, items: pl.DataFrame) -> Dataset:
        """The same events under the rows of other `items`, in their order, whose popularity is counted anew.

        Raises DataError for an event of an item that is none of them.
        """
        row_of = {item: row for row, item in enumerate(items["item_id"], start=1)}
        rows = np.array([0, *(row_of.get(item, 0) for item in self.items["item_id"])])[self.events]
        if not rows.all():
            absent = self.items["item_id"][int(self.events[np.argmin(rows)]) - 1]
            raise DataError(
                f"expected a log of the model's items; got '{absent}' in {self.name}; leave out other events"
            )
        counts = np.bincount(rows, minlength=items.height + 1)[1:]
        return replace(self, items=items.with_columns(popularity=counts), events=rows)

    @cached_property
    def repeat_share(self) -> float:
        """Share of the events whose item their user has had before."""
        users = np.repeat(np.arange(self.num_users), np.diff(self.offsets))
        distinct = pl.DataFrame({"user": users, "item": self.events}).n_unique()
        return 1 - distinct / max(1, self.num_events)

    @property
    def repeats(self) -> bool:
        """Whether users come back to items, so that seen ones are still worth recommending."""
        return self.repeat_share >= REPEATS

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The log's own item id -> row 1..N."""
        return {item: row for row, item in enumerate(self.items["item_id"].to_list(), start=1)}

    @cached_property
    def digest(self) -> str:
        """sha256 over item ids, user ids, offsets, events and, where known, the times, whatever unit counts them;
        titles, name, notes and origin do not enter."""
        digest = hashlib.sha256()
        for texts in (self.items["item_id"].to_list(), self.user_ids):
            digest.update(_canonical_text(texts))
        for array in (self.offsets, self.events, *self._instants()):
            digest.update(len(array).to_bytes(8, "little"))
            digest.update(array.astype("<i8", copy=False).tobytes())
        return digest.hexdigest()

    def _instants(self) -> tuple[Int64Array, ...]:
        """Seconds since 1970 of every event and the nanoseconds beyond them, the same in any unit; () without times."""
        if not self.timed:
            return ()
        per_second = PER_SECOND[self.time_unit]
        seconds, rest = np.divmod(self.clock(), per_second)
        return seconds, rest * (PER_SECOND["ns"] // per_second)


def _canonical_text(texts: Iterable[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    lengths = np.array([len(encoded), *map(len, encoded)], dtype="<i8")
    return lengths.tobytes() + b"".join(encoded)
