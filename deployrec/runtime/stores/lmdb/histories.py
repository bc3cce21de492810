"""Users' histories in an LMDB environment: chunks, behind them a journal, behind it what the log holds."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deployrec.runtime.durable import NO_HISTORY, History
from deployrec.runtime.records import is_record, position, told
from deployrec.runtime.stores.lmdb.journal import HEAD, Journal, skip
from deployrec.runtime.stores.lmdb.keys import HISTORY, JOURNAL
from deployrec.runtime.stores.lmdb.log import Tail

CHUNK = 64
"""Events of a history in one value."""
PLACE = struct.Struct(">Q")
NO_TAIL: Tail = (0, 0, 0, 0.0, b"")
CHUNK_HEAD, ITEM_HEAD = struct.Struct("<dI"), struct.Struct("<I")

Transaction = Any


class Histories:
    """Histories in one transaction, with the tails of the log. A user's chunks lie under (user, events before)."""

    def __init__(self, txn: Transaction, table: object, kept: int | None, tails: Mapping[bytes, Tail]) -> None:
        self.txn = txn
        self.table = table
        self.kept = kept
        self.tails = tails
        self.cursor = txn.cursor(db=table)

    def journal(self, user: bytes) -> Journal:
        """The user's journal, what the log holds of it included; where there is none an empty one behind the chunks, or
        behind nothing if no histories are kept."""
        held = self.txn.get(user + JOURNAL, None, self.table)
        if held is None:
            newest = None if self.kept == 0 else self._newest(user)
            base = 0 if newest is None else newest[0] + int(CHUNK_HEAD.unpack_from(newest[1])[1])
            return Journal(0, base, 0, 0.0, b"")
        known, base, events, at = HEAD.unpack_from(held)
        journal = Journal(known, base, events, at, bytes(held[HEAD.size :]))
        life, place, count, written, body = self.tails.get(user, NO_TAIL)
        if life != journal.life or place + count <= journal.total:
            return journal
        body = journal.body + skip(body, journal.total - place)
        return Journal(life, journal.base, place + count - journal.base, written, body)

    def is_at(self, user: bytes, life: int, total: int) -> bool:
        """Whether the user's history counts so many events in that life."""
        held = self.txn.get(user + JOURNAL, None, self.table)
        if held is None:
            return False
        known, base, count, _ = HEAD.unpack_from(held)
        noted, place, further, _, _ = self.tails.get(user, NO_TAIL)
        return known == life and total == max(base + count, place + further if noted == life else 0)

    def fold(self, user: bytes) -> None:
        """Puts into the user's journal what the log holds of it."""
        held = self.txn.get(user + JOURNAL, None, self.table)
        life, place, further, written, body = self.tails.get(user, NO_TAIL)
        if held is None or not further:
            return
        known, base, count, _ = HEAD.unpack_from(held)
        if known == life and place + further > base + count:
            head = HEAD.pack(life, base, place + further - base, written)
            value = b"".join((head, held[HEAD.size :], skip(body, base + count - place)))
            self.txn.put(user + JOURNAL, value, db=self.table)

    def settle(self, user: bytes, journal: Journal, read: Sequence[bytes], now: float, life: int = 0) -> None:
        """Puts the journal's entries and further ones behind the chunks, and in its place an empty one, or none."""
        read = [*journal.entries(), *read]
        self.append(user, read, now)
        if life:
            empty = Journal(life, journal.base + len(read), 0, now, b"")
            self.txn.put(user + JOURNAL, empty.pack(), db=self.table)
        elif journal.life:
            self.txn.delete(user + JOURNAL, db=self.table)

    def append(self, user: bytes, read: Sequence[bytes], written: float, first: int = 0) -> None:
        """Puts entries behind the user's chunks; `first` are said to have been before where there are none."""
        if self.kept == 0 or not read:
            return
        count, body = 0, b""
        if newest := self._newest(user):
            first, chunk = newest
            _, count = CHUNK_HEAD.unpack_from(chunk)
            body = chunk[CHUNK_HEAD.size :]
        total = first + count + len(read)
        new = [ITEM_HEAD.pack(len(entry)) + entry for entry in read]
        begun = count >= CHUNK
        while new:
            if count >= CHUNK:
                first, count, body = first + count, 0, b""
            taken, new = new[: CHUNK - count], new[CHUNK - count :]
            count, body = count + len(taken), body + b"".join(taken)
            self.txn.put(user + HISTORY + PLACE.pack(first), CHUNK_HEAD.pack(written, count) + body, db=self.table)
            begun = begun or bool(new)
        if begun and self.kept is not None:
            self._trim(user, total - self.kept)

    def of(self, user: bytes, since: int = 0) -> History:
        """The user's history; where the journal holds all events behind the first `since`, these alone."""
        entries: list[bytes] = []
        journal, written = self.journal(user), 0.0
        for chunk in self._chunks(user) if since < journal.base or not journal.events else ():
            written, further = _entries(chunk)
            entries += further
        if journal.events:
            entries += journal.entries()
        if not entries:
            return NO_HISTORY
        if self.kept is not None:
            entries = entries[len(entries) - min(max(self.kept, journal.events), len(entries)) :]
        return History.of_entries(entries, journal.total, max(written, journal.written))

    def written(self, user: bytes) -> float:
        """Seconds since 1970 of the newest event's write; infinite where there is no history."""
        newest, journal = self._newest(user), self.journal(user)
        if newest is None and not journal.events:
            return float("inf")
        return max(journal.written, 0.0 if newest is None else CHUNK_HEAD.unpack_from(newest[1])[0])

    def drop(self, user: bytes) -> bool:
        return self.txn.delete(user + JOURNAL, db=self.table) | self._trim(user, 2**64)

    def _trim(self, user: bytes, before: int) -> bool:
        """Deletes the chunks that end at or before this place; whether there were any."""
        here, found = self.cursor.set_range(user + HISTORY + PLACE.pack(0)), False
        while here and _chunk_of(user, self.cursor.key()):
            (first,) = PLACE.unpack(self.cursor.key()[-PLACE.size :])
            if first + CHUNK_HEAD.unpack_from(self.cursor.value())[1] > before:
                break
            here, found = self.cursor.delete(), True
        return found

    def _newest(self, user: bytes) -> tuple[int, bytes] | None:
        cursor = self.cursor
        there = cursor.prev() if cursor.set_range(user + HISTORY + PLACE.pack(2**64 - 1)) else cursor.last()
        if not there or not _chunk_of(user, cursor.key()):
            return None
        return PLACE.unpack(cursor.key()[-PLACE.size :])[0], bytes(cursor.value())

    def _chunks(self, user: bytes) -> Iterator[bytes]:
        here = self.cursor.set_range(user + HISTORY + PLACE.pack(0))
        while here and _chunk_of(user, self.cursor.key()):
            yield bytes(self.cursor.value())
            here = self.cursor.next()


def completed(value: bytes, journal: Journal, unit: str) -> bytes:
    """A record that lies behind, whose layout counts time in this unit, once it knows of all events of the journal."""
    return told(value, journal.since(position(value), unit), journal.written)


def lies_behind(value: bytes | memoryview, journal: Journal) -> int:
    """How many events of the user's journal complete the record: none where it lies behind the journal's beginning."""
    if not is_record(value) or position(value) < journal.base:
        return 0
    return max(0, journal.total - position(value))


def _chunk_of(user: bytes, key: bytes) -> bool:
    return key[: len(user) + 1] == user + HISTORY


def _entries(chunk: bytes) -> tuple[float, list[bytes]]:
    """When the chunk was written, and its entries."""
    written, count = CHUNK_HEAD.unpack_from(chunk)
    at, entries, length_at, head = CHUNK_HEAD.size, [], ITEM_HEAD.unpack_from, ITEM_HEAD.size
    for _ in range(count):
        start = at + head
        at = start + length_at(chunk, at)[0]
        entries.append(chunk[start:at])
    return written, entries
