"""What the stores that outlive their process share: options in the address, records as bytes, histories by user."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import parse_qsl

from deployrec.errors import ConfigError, StaleStateError
from deployrec.options import check_keys, describe, option
from deployrec.runtime.books import newest_time
from deployrec.runtime.clock import Clock
from deployrec.runtime.events import NO_TIME
from deployrec.runtime.records import Stamp, pack, position, positions, unpack
from deployrec.runtime.stores.base import ConflictError, Layout, Rows, find_store

Config = TypeVar("Config", bound="Keeping")
DAY = 86_400.0
MOST_TOTALS = 2**20
"""Users who may be read before one of them is written; of others a write asks again."""


@dataclass(frozen=True)
class Keeping:
    """Options that every durable store takes in its address: "lmdb:PATH?history=1000&float16=true"."""

    history: int | None = option(
        None, "events kept of each user, the newest; none keeps all, 0 no histories", at_least=0
    )
    float16: bool = option(False, "state tensors in half the bytes, rounded to 11 bits")
    ttl_days: float | None = option(None, "days after its last write when a user may go; none keeps all", above=0)

    @property
    def ttl(self) -> float | None:
        """The same in seconds."""
        return None if self.ttl_days is None else self.ttl_days * DAY


class History(NamedTuple):
    """The events that a user's records have read, whatever the model."""

    items: list[str]
    """the user's own item ids, oldest first; the newest of `total` where a store keeps no more"""
    total: int = 0
    written: float = 0.0
    """seconds since 1970 of the newest write"""
    times: Sequence[int] = ()
    """of each item, in nanoseconds since 1970, NO_TIME where none is known; () where none of any is"""

    def entries(self) -> list[bytes]:
        """What a database keeps of each event."""
        return list(map(entry, self.items, self.times or repeat(NO_TIME)))

    @classmethod
    def of_entries(cls, entries: Sequence[bytes], total: int, written: float) -> History:
        """The history of what a database has kept."""
        if TIMED not in b"".join(entries):
            return cls([each.decode() for each in entries], total, written)
        parts = [each.partition(TIMED) for each in entries]
        times = [int.from_bytes(moment, "little", signed=True) if timed else NO_TIME for _, timed, moment in parts]
        return cls([item.decode() for item, _, _ in parts], total, written, times)


NO_HISTORY = History([])
TIMED = b"\xff"
"""Between an item's id and its time: no byte of UTF-8."""


def entry(item: str, nanoseconds: int) -> bytes:
    """One event as histories keep it: the item's id in UTF-8 and, where its time is known, TIMED and the nanoseconds
    since 1970 as 8 bytes, the lowest first."""
    if nanoseconds == NO_TIME:
        return item.encode()
    return item.encode() + TIMED + nanoseconds.to_bytes(8, "little", signed=True)


class Database(Protocol):
    """All that lies at one address: records of several layouts side by side, as bytes, and users' histories.

    `state_id` names the layout in every call. Every call is applied whole or not at all unless it says otherwise.
    """

    address: str

    @property
    def keeping(self) -> Keeping:
        """The options of the address."""

    def layouts(self) -> list[Layout]:
        """All layouts that have been added."""

    def add(self, layout: Layout) -> None:
        """Makes room for a layout's records; nothing where it is known."""

    def get(self, state_id: str, users: Sequence[str]) -> list[bytes | None]:
        """The users' records."""

    def read(self, state_id: str, users: Sequence[str]) -> tuple[list[bytes | None], list[int], list[int]]:
        """The users' records; up to which place of their histories these know the events, read or not, `position` or
        more; and how many events the histories count (0 where none is kept)."""

    def swap(
        self, state_id: str, users: Sequence[str], values: Sequence[bytes], read: Sequence[Sequence[bytes]]
    ) -> list[int]:
        """Puts records where the one before has the version before, and `read` (or ()), each event's `entry`, behind
        those users' histories.

        A record's position must be where its history then ends: so no event that another bundle has read meanwhile is
        passed over. Returns the places of the users whose record or history is another. Durable once it returns.
        """

    def put(self, state_id: str, users: Sequence[str], values: Sequence[bytes]) -> None:
        """Puts records whatever was there; durable once it returns."""

    def scan(self, state_id: str) -> Iterator[tuple[list[str], list[bytes]]]:
        """All records in pieces; each user once, records may come and go meanwhile."""

    def size(self, state_id: str) -> tuple[int, int]:
        """How many users' records there are, and their bytes."""

    def histories(self, users: Sequence[str], since: Sequence[int] | None = None) -> list[History]:
        """The users' histories; `NO_HISTORY` where none is kept. With `since`, events of each that stand in front
        of that place may be left out."""

    def num_histories(self) -> int:
        """How many users have one."""

    def put_histories(self, users: Sequence[str], histories: Sequence[History]) -> None:
        """Puts histories whatever was there."""

    def users_with_histories(self) -> Iterator[list[str]]:
        """Every user who has one, once, in pieces; always in the same order."""

    def scan_histories(self) -> Iterator[tuple[list[str], list[History]]]:
        """All histories in pieces, each user once."""

    def forget(self, users: Sequence[str]) -> list[bool]:
        """Drops the users' records of all layouts and their histories; whether there was anything of each."""

    def drop(self, state_id: str) -> int:
        """Drops a layout and its records, piece by piece; returns how many there were. Histories stay."""

    def expire(self, before: float) -> tuple[int, int]:
        """Drops records and histories last written before that moment, piece by piece; returns how many of each."""

    def meta(self, state_id: str) -> dict[str, Any]:
        """The JSON object beside a layout's records."""

    def set_meta(self, state_id: str, meta: Mapping[str, Any]) -> None:
        """Replaces it."""

    def num_bytes(self) -> int:
        """Bytes that everything takes at the address, room that was freed included."""

    def close(self) -> None:
        """Lets go of what the process holds of it; closing twice is no error."""


class DurableStore:
    """See `Store`: the records of one layout in a database. Everything is durable once `write` returns.

    Where histories are kept, a read finds what a record has not read yet (see `Rows.unread`), and then knows which
    events were applied from the record that has read them: of another bundle's.
    """

    def __init__(self, database: Database, layout: Layout) -> None:
        database.add(layout)
        self.shared = True
        self.database = database
        self.layout = layout
        self._clock = Clock(layout.unit)
        self._totals: dict[str, int] = {}
        """events of the histories of the users that were read since the last write, the latest of them"""

    def __repr__(self) -> str:
        return f"{type(self.database).__name__}({self.database.address})"

    def read(self, users: Sequence[str]) -> Rows:
        values, told, totals = self.database.read(self.layout.state_id, users)
        self._totals.update(zip(users, totals, strict=True))
        for user in list(islice(self._totals, max(0, len(self._totals) - MOST_TOTALS))):
            del self._totals[user]
        rows = unpack(self.layout, users, values)
        if (known := positions(values)) != totals:
            self._find_unread(users, rows, known, told, totals)
        return rows

    def write(self, users: Sequence[str], rows: Rows) -> None:
        values, read = self._packed(rows, self._ends(users, rows)), self._entries(rows)
        lost = self.database.swap(self.layout.state_id, users, values, read)
        if lost:
            raise ConflictError([users[place] for place in lost])

    def _ends(self, users: Sequence[str], rows: Rows) -> list[int]:
        """Events of the users' histories once these rows are written."""
        totals, self._totals = self._totals, {}
        if missing := [user for user in users if user not in totals]:  # written by a caller who did not read them
            totals.update(zip(missing, self.database.read(self.layout.state_id, missing)[2], strict=True))
        ends = [totals[user] for user in users]
        if rows.read and self.database.keeping.history != 0:
            ends = [end + len(events) for end, events in zip(ends, rows.read, strict=True)]
        return ends

    def _entries(self, rows: Rows) -> list[list[bytes]]:
        """What histories keep of the events that were read, or () where none are kept."""
        kept = self._clock.kept
        if self.database.keeping.history == 0:
            return []
        return [[entry(event.item, kept(event.time)) for event in events] for events in rows.read]

    def _packed(self, rows: Rows, ends: Sequence[int]) -> list[bytes]:
        stamp = Stamp(time.time(), int.from_bytes(os.urandom(8), "little"))
        return pack(self.layout, rows, ends, stamp, self.database.keeping.float16)

    def _find_unread(
        self, users: Sequence[str], rows: Rows, known: Sequence[int], told: Sequence[int], totals: Sequence[int]
    ) -> None:
        behind = [place for place, total in enumerate(totals) if known[place] < total]
        unread: list[Sequence[str]] = [()] * len(users)
        chosen = [users[place] for place in behind]
        histories = self.database.histories(chosen, [known[place] for place in behind])
        for place, history in zip(behind, histories, strict=True):
            # As it is now, which may be more than it was: a write then loses, and all is read again.
            self._totals[users[place]] = history.total
            unread[place] = history.items[max(0, len(history.items) - (history.total - known[place])) :]
            news = slice(max(0, len(history.items) - (history.total - told[place])), None)
            if times := history.times[news]:
                last, kept = int(rows.last_time[place]), map(self._clock.of_kept, times)
                rows.last_time[place] = newest_time(last, list(kept))[0]
            elif history.items[news]:
                rows.last_time[place] = NO_TIME
        rows.unread = unread
        newest = [told[place] for place in behind]
        for layout in self.database.layouts():
            if layout.state_id == self.layout.state_id:
                continue
            values = self.database.get(layout.state_id, chosen)
            ahead = [n for n, value in enumerate(values) if value is not None and position(value) > newest[n]]
            others = unpack(layout, [chosen[n] for n in ahead], [values[n] for n in ahead])
            for n, place in enumerate(ahead):
                newest[place] = position(values[place] or b"")
                _adopt(rows, behind[place], others, n)
                rows.last_time[behind[place]] = self._moment_of(layout, int(others.last_time[n]))

    def _moment_of(self, layout: Layout, moment: int) -> int:
        """A last time of another layout's record in the unit of this one's."""
        if layout.unit == self.layout.unit:
            return moment
        return self._clock.of_kept(Clock(layout.unit).kept(moment))

    def forget(self, users: Sequence[str]) -> int:
        """Drops the users out of every layout, histories included; returns how many of them were there."""
        return sum(self.database.forget(users))

    def users(self) -> Iterator[str]:
        for users, _ in self.database.scan(self.layout.state_id):
            yield from users

    def history(self, users: Sequence[str]) -> list[list[str] | None]:
        if self.database.keeping.history == 0:
            return [None] * len(users)
        return [history.items for history in self.database.histories(users)]

    def meta(self) -> dict[str, Any]:
        return self.database.meta(self.layout.state_id)

    def set_meta(self, meta: Mapping[str, Any]) -> None:
        self.database.set_meta(self.layout.state_id, meta)

    def close(self) -> None:
        self.database.close()


def _adopt(rows: Rows, place: int, others: Rows, other: int) -> None:
    """What one record knows of the events that were applied becomes what another of the user knows."""
    rows.event_hashes[place], rows.sequences[place] = others.event_hashes[other], others.sequences[other]
    rows.last_event_id[place] = others.last_event_id[other]


def open_database(address: str, create: bool = False) -> Database:
    """What lies at the address of a durable store, whatever its layouts.

    Raises ConfigError for a store that keeps nothing beyond its process, StoreError where nothing lies (see `create`).
    """
    module, where = find_store(address)
    if not hasattr(module, "database"):
        raise ConfigError(f"expected a store such as lmdb:PATH or redis://HOST; got '{address}'; name one of these")
    found: Database = module.database(where, create)
    return found


def parse_address(owner: str, address: str, config_class: type[Config]) -> tuple[str, Config]:
    """The place and the options of "PLACE?option=value&..."; raises ConfigError for an option that `owner` lacks."""
    place, _, query = address.partition("?")
    given = parse_qsl(query, keep_blank_values=True)
    options = {known.key: known for known in describe(config_class)}
    check_keys(options, [key for key, _ in given], owner)
    if len(dict(given)) < len(given):
        raise ConfigError(f"expected each option of {owner} once; got '{query}'; leave the repeated one out")
    bits = {"1": "true", "0": "false"}
    words = {key: bits.get(text, text) if options[key].kind is bool else text for key, text in given}
    return place, config_class(**{key: options[key].parse(text) for key, text in words.items()})


def dropped(address: str, state_id: str) -> StaleStateError:
    """What a layout's reader and writer are told once `Database.drop` has ended."""
    return StaleStateError(
        f"expected records of states {state_id[:12]} in {address}; got none, they were dropped; open the store again"
    )
