"""Users' histories in an LMDB environment, in chunks: an event writes the newest of them again."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

from deployrec.runtime.durable import NO_HISTORY, History
from deployrec.runtime.stores.lmdb.keys import HISTORY

CHUNK = 64
"""Events of a history in one value."""
PLACE = struct.Struct(">Q")
CHUNK_HEAD, ITEM_HEAD = struct.Struct("<dI"), struct.Struct("<I")

Transaction = Any


class Histories:
    """Histories in one transaction. A user's chunks lie under (user, events before the chunk)."""

    def __init__(self, txn: Transaction, table: object, kept: int | None) -> None:
        self.txn = txn
        self.table = table
        self.kept = kept
        self.cursor = txn.cursor(db=table)

    def append(
        self, user: bytes, read: Sequence[bytes], written: float, first: int = 0, end: int | None = None
    ) -> bool:
        """Puts events' entries behind the user's history; `first` are said to have been before where there is none.

        With `end` only where the history then counts so many; whether it did.
        """
        if self.kept == 0:
            return True
        count, body = 0, b""
        if newest := self._newest(user):
            first, chunk = newest
            _, count = CHUNK_HEAD.unpack_from(chunk)
            body = chunk[CHUNK_HEAD.size :]
        total = first + count + len(read)
        if end is not None and total != end:
            return False
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
        return True

    def of(self, user: bytes) -> History:
        items: list[bytes] = []
        first, written = 0, 0.0
        for place, chunk in self._chunks(user):
            first = place if not items else first
            written, texts = _items(chunk)
            items += texts
        if not items:
            return NO_HISTORY
        total = first + len(items)
        kept = len(items) if self.kept is None else min(self.kept, len(items))
        return History.of_entries(items[len(items) - kept :], total, written)

    def total(self, user: bytes) -> int:
        """Events of the user's history, those that are kept no more included."""
        newest = self._newest(user)
        return 0 if newest is None else newest[0] + int(CHUNK_HEAD.unpack_from(newest[1])[1])

    def written(self, user: bytes) -> float:
        """Seconds since 1970 of the newest chunk; infinite where there is none."""
        newest = self._newest(user)
        return float("inf") if newest is None else CHUNK_HEAD.unpack_from(newest[1])[0]

    def drop(self, user: bytes) -> bool:
        return self._trim(user, 2**64)

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

    def _chunks(self, user: bytes) -> Iterator[tuple[int, bytes]]:
        here = self.cursor.set_range(user + HISTORY + PLACE.pack(0))
        while here and _chunk_of(user, self.cursor.key()):
            yield PLACE.unpack(self.cursor.key()[-PLACE.size :])[0], bytes(self.cursor.value())
            here = self.cursor.next()


def _chunk_of(user: bytes, key: bytes) -> bool:
    return key[: len(user) + 1] == user + HISTORY


def _items(chunk: bytes) -> tuple[float, list[bytes]]:
    """When the chunk was written, and its entries."""
    written, count = CHUNK_HEAD.unpack_from(chunk)
    at, items = CHUNK_HEAD.size, []
    for _ in range(count):
        (length,) = ITEM_HEAD.unpack_from(chunk, at)
        at += ITEM_HEAD.size + length
        items.append(chunk[at - length : at])
    return written, items
