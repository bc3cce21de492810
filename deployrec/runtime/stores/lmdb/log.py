"""The log of an LMDB store: what write calls have appended to users' journals, a value a call.

Users' journals lie scattered over the file, and a write of each costs a page of its own; one value costs as good as
nothing. Later the journals are brought up to date by neighbouring users together, a part with every `STEP` events, and
once all have been, what the log held before goes. Until then every process keeps in memory what the log holds.

A value lies under the number of the transaction that put it, uint64 from the high byte on: its moment, float64 seconds
since 1970, and then of each user

           the user's key
    8      life, uint64
    8      place, uint64: events of the history before
    4 4    uint32: events, and their bytes
           the events, as in a journal
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from deployrec.runtime.stores.lmdb.keys import LENGTH

NUMBER, WRITTEN, PART = struct.Struct(">Q"), struct.Struct("<d"), struct.Struct("<QQII")
STEP, STEPS = 256, 64
"""After so many events a part of the journals is brought up to date, and after so many parts it was each one's turn."""
DROPPED_AT_ONCE = 1024

Transaction = Any


Tail = tuple[int, int, int, float, bytes]
"""What the log holds of one user's history: its life, events before, events, the newest one's write, the events' bytes.
Plain values in a tuple, which the garbage collector stops looking at."""


class Turn(NamedTuple):
    """What a write does besides: whose journals it brings up to date, and which of the log's values it deletes, the
    oldest first: those of numbers up to `through`, but not more than `most`."""

    keys: Sequence[bytes]
    through: int
    most: int

    def drop(self, txn: Transaction, table: object) -> None:
        """Deletes the values."""
        if not self.most:
            return
        cursor, left = txn.cursor(db=table), self.most
        while left and cursor.first() and NUMBER.unpack(cursor.key())[0] <= self.through:
            cursor.delete()
            left -= 1


NOTHING_DUE = Turn((), 0, 0)


class Log:
    """The log as this process knows it, an entry a user. What is noted twice is noted once."""

    def __init__(self) -> None:
        self.tails: dict[bytes, Tail] = {}
        self._newest: dict[bytes, int] = {}
        """of each user in it, the number of the newest value that holds events of it"""
        self.last = 0
        """number of the newest transaction whose values are known"""
        self._first = 0
        """no user's events that the log held before this number are known"""
        self._turn: list[bytes] = []
        self._turn_size = 0
        self._turn_begun = self._whole = 0
        """everything up to these numbers is in the journals once the turn has ended, and already"""
        self._due = 0

    def follow(self, txn: Transaction, table: object, now: int) -> None:
        """Notes what other processes have put and deleted, as of transaction `now`, before anything else is read."""
        if now == self.last:
            return
        cursor = txn.cursor(db=table)
        self._forget_before(NUMBER.unpack(cursor.key())[0] if cursor.first() else now + 1)
        here = cursor.set_range(NUMBER.pack(self.last + 1))
        while here:
            (number,) = NUMBER.unpack(cursor.key())
            self._note(number, _parts(bytes(cursor.value())))
            here = cursor.next()
        self.last = now

    def due(self) -> Turn:
        """What the next write shall do besides."""
        steps = self._due // STEP
        if not steps:
            return NOTHING_DUE
        if not self._turn:
            self._whole, self._turn_begun = self._turn_begun, self.last
            self._turn = sorted(self.tails, reverse=True)
            self._turn_size = -(-len(self._turn) // STEPS)
        keys = self._turn[-steps * self._turn_size :][::-1] if self._turn else ()
        return Turn(keys, self._whole, steps * DROPPED_AT_ONCE)

    def done(self, turn: Turn, settled: Iterable[bytes], number: int, parts: Sequence[tuple[bytes, Tail]]) -> None:
        """Notes what a write of that number has done: it came right after all that is known."""
        self._forget((*turn.keys, *settled))
        if turn is not NOTHING_DUE:
            del self._turn[max(0, len(self._turn) - len(turn.keys)) :]
            self._due %= STEP
        if parts:
            self._note(number, parts)
            self._due += sum(tail[2] for _, tail in parts)
        self.last = number

    def _note(self, number: int, parts: Sequence[tuple[bytes, Tail]]) -> None:
        tails = self.tails
        for key, tail in parts:
            self._newest[key] = number
            if key in tails:
                life, place, count, written, body = tail
                known_life, first, known, _, before = tails[key]
                if known_life == life and first + known >= place:
                    if first + known > place:
                        continue  # noted already
                    tail = (life, first, known + count, written, before + body)
            tails[key] = tail

    def _forget_before(self, first: int) -> None:
        """Forgets what was deleted from the log: it is in the journals."""
        if 2 * first < self._first + self.last:
            return  # half at a time: looking through what stays takes its time
        self._forget([key for key, number in self._newest.items() if number < first])
        self._first = first

    def _forget(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.tails.pop(key, None)
            self._newest.pop(key, None)


def value_of(parts: Sequence[tuple[bytes, Tail]]) -> bytes:
    """What the log holds of one call."""
    pieces = [WRITTEN.pack(parts[0][1][3])]
    for key, (life, place, count, _, body) in parts:
        pieces += (key, PART.pack(life, place, count, len(body)), body)
    return b"".join(pieces)


def _parts(value: bytes) -> list[tuple[bytes, Tail]]:
    (written,) = WRITTEN.unpack_from(value)
    at, parts = WRITTEN.size, []
    while at < len(value):
        start = at
        at += LENGTH.size + LENGTH.unpack_from(value, at)[0]
        key = value[start:at]
        life, place, count, size = PART.unpack_from(value, at)
        at += PART.size + size
        parts.append((key, (life, place, count, written, value[at - size : at])))
    return parts
