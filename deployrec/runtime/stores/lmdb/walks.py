"""Walks over all that an LMDB store holds, piece by piece, while others read and write."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from deployrec.runtime.durable import History, dropped
from deployrec.runtime.records import last_write
from deployrec.runtime.stores.lmdb.environment import Transaction
from deployrec.runtime.stores.lmdb.histories import Histories, completed, lies_behind
from deployrec.runtime.stores.lmdb.keys import HISTORY, JOURNAL, RECORD, user_end, user_key, user_of
from deployrec.runtime.stores.lmdb.tables import DROPPED, NUMBER, Tables

PIECE = 1000
"""Keys that one transaction of a walk reads or deletes."""

Answer = TypeVar("Answer")


class Walks(Tables):
    """See `Database`: what goes through all users."""

    def scan(self, state_id: str) -> Iterator[tuple[list[str], list[bytes]]]:
        for pairs in self._pieces(state_id, bytes):
            yield [user_of(key) for key, _ in pairs], [value for _, value in pairs]

    def size(self, state_id: str) -> tuple[int, int]:
        sizes = [size for pairs in self._pieces(state_id, len) for _, size in pairs]
        return len(sizes), sum(sizes)

    def histories(self, users: Sequence[str], since: Sequence[int] | None = None) -> list[History]:
        keys, places = [user_key(user) for user in users], since or [0] * len(users)
        return self._environment.run(lambda txn: list(map(self._histories(txn).of, keys, places)))

    def num_histories(self) -> int:
        return sum(map(len, self.users_with_histories()))

    def users_with_histories(self) -> Iterator[list[str]]:
        last = None
        for pairs in self._walk((HISTORY, JOURNAL), lambda histories, key, _: histories.journal(key[: user_end(key)])):
            users = list(dict.fromkeys(user_of(key) for key, journal in pairs if journal.total))
            if fresh := [user for user in users if user != last]:
                yield fresh
            last = users[-1] if users else last

    def scan_histories(self) -> Iterator[tuple[list[str], list[History]]]:
        for users in self.users_with_histories():
            yield users, self.histories(users)

    def drop(self, state_id: str) -> int:
        key = state_id.encode()

        def mark(txn: Transaction) -> bytes:
            value = txn.get(key, db=self._table(b"layouts"))
            if value is None:
                raise dropped(self.address, state_id)
            number, about = bytes(value[: NUMBER.size]), bytes(value[NUMBER.size + 1 :])
            txn.put(key, number + DROPPED + about, db=self._table(b"layouts"))
            return RECORD + number

        record = self._environment.run(mark, write=True)
        count = sum(self._deleted([key for key, _ in pairs]) for pairs in self._walk(record, lambda *_: None))
        self._environment.run(lambda txn: txn.delete(key, db=self._table(b"layouts")), write=True)
        return count

    def expire(self, before: float) -> tuple[int, int]:
        def histories(keys: Sequence[bytes]) -> Callable[[Transaction], int]:
            def write(txn: Transaction) -> int:
                table = self._histories(txn)
                return sum(table.drop(key) for key in keys if table.written(key) < before)

            return write

        records = 0
        for pairs in self._walk(RECORD, _written):
            records += self._deleted([key for key, written in pairs if written < before], before)
        dropped_histories = 0
        for users in self.users_with_histories():
            old = self._environment.run(self._old([user_key(user) for user in users], before))
            if old:
                dropped_histories += self._environment.run(histories(old), write=True)
        return records, dropped_histories

    def _pieces(self, state_id: str, of: Callable[[Any], Answer]) -> Iterator[list[tuple[bytes, Answer]]]:
        """The layout's records by the users' keys, as `of` makes them of the bytes."""
        record, unit = self._environment.run(lambda txn: (self._record(txn, state_id), self._unit(txn, state_id)))

        def known(histories: Histories, key: bytes, view: Any) -> Answer:
            value, journal = bytes(view), histories.journal(key[: user_end(key)])
            return of(completed(value, journal, unit) if lies_behind(value, journal) else value)

        return self._walk(record, known)

    def _walk(
        self, kinds: bytes | tuple[bytes, ...], of: Callable[[Histories, bytes, Any], Answer]
    ) -> Iterator[list[tuple[bytes, Answer]]]:
        """All keys that go on like this behind the user, with what `of` makes of the value; a transaction a piece."""
        start: bytes | None = b""

        def read(txn: Transaction) -> tuple[list[tuple[bytes, Answer]], bytes | None]:
            cursor, histories = txn.cursor(db=self._table(b"users")), self._histories(txn)
            found, key = [], b""
            for view, value in islice(cursor.iternext() if cursor.set_range(start) else (), PIECE):
                key = bytes(view)
                if key.startswith(kinds, user_end(key)):
                    found.append((key, of(histories, key, value)))
            return found, key + b"\0" if key else None

        while start is not None:
            found, start = self._environment.run(read)
            if found:
                yield found

    def _deleted(self, keys: Sequence[bytes], before: float = math.inf) -> int:
        """Deletes those of the records that are still from before that moment; how many they were."""

        def write(txn: Transaction) -> int:
            table, histories = self._table(b"users"), self._histories(txn)
            values = [txn.get(key, db=table) for key in keys]
            old = [
                key
                for key, value in zip(keys, values, strict=True)
                if value and _written(histories, key, value) < before
            ]
            return sum(txn.delete(key, db=table) for key in old)

        return self._environment.run(write, write=True) if keys else 0

    def _old(self, keys: Sequence[bytes], before: float) -> Callable[[Transaction], list[bytes]]:
        def read(txn: Transaction) -> list[bytes]:
            table = self._histories(txn)
            return [key for key in keys if table.written(key) < before]

        return read


def _written(histories: Histories, key: bytes, value: Any) -> float:
    """Seconds since 1970 of the newest event's write, of a record or of the journal that completes it."""
    journal = histories.journal(key[: user_end(key)])
    return journal.written if lies_behind(value, journal) else last_write(value)
