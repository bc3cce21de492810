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
from collections import deque
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
    """What a write does besides: whose journals it brings up to date, and which of the log's values it deletes."""

    keys: Sequence[bytes]
    numbers: Sequence[bytes]


NOTHING_DUE = Turn((), ())


class Log:
    """The log as this process knows it. What is noted twice is noted once."""

    def __init__(self) -> None:
        self.tails: dict[bytes, Tail] = {}
        self.last = 0
        """number of the newest transaction whose values are known"""
        self._values: deque[tuple[int, list[bytes]]] = deque()
        """numbers of the log's values, and whose events they hold"""
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
        numbers: list[bytes] = []
        for number, _ in self._values:
            if number > self._whole or len(numbers) == steps * DROPPED_AT_ONCE:
                break
            numbers.append(NUMBER.pack(number))
        return Turn(self._turn[-steps * self._turn_size :][::-1] if self._turn else (), numbers)

    def done(self, turn: Turn, settled: Iterable[bytes], number: int, parts: Sequence[tuple[bytes, Tail]]) -> None:
        """Notes what a write of that number has done: it came right after all that is known."""
        for key in (*turn.keys, *settled):
            self.tails.pop(key, None)
        if turn is not NOTHING_DUE:
            del self._turn[max(0, len(self._turn) - len(turn.keys)) :]
            self._due %= STEP
        while turn.numbers and self._values and self._values[0][0] <= NUMBER.unpack(turn.numbers[-1])[0]:
            self._values.popleft()
        if parts:
            self._note(number, parts)
            self._due += sum(tail[2] for _, tail in parts)
        self.last = number

    def _note(self, number: int, parts: Sequence[tuple[bytes, Tail]]) -> None:
        tails = self.tails
        for key, tail in parts:
            if key in tails:
                life, place, count, written, body = tail
                known_life, first, known, _, before = tails[key]
                if known_life == life and first + known >= place:
                    if first + known > place:
                        continue  # noted already
                    tail = (life, first, known + count, written, before + body)
            tails[key] = tail
        self._values.append((number, [key for key, _ in parts]))

    def _forget_before(self, first: int) -> None:
        """Forgets what was deleted from the log: it is in the journals."""
        values = self._values
        if not values or values[len(values) // 2][0] >= first:
            return  # half at a time: looking through what stays takes its time
        gone: set[bytes] = set()
        while values and values[0][0] < first:
            gone.update(values.popleft()[1])
        for key in gone.difference(*(keys for _, keys in values)):
            self.tails.pop(key, None)


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
