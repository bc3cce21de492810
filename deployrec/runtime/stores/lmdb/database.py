"""Users' records in an LMDB environment: one folder of this machine, shared by its processes, synced at every write."""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from deployrec.errors import ConfigError
from deployrec.runtime.durable import DurableStore, History, Keeping, dropped, parse_address
from deployrec.runtime.records import last_write, position, replaces
from deployrec.runtime.stores.base import Layout
from deployrec.runtime.stores.lmdb.environment import Environment, Transaction
from deployrec.runtime.stores.lmdb.histories import Histories
from deployrec.runtime.stores.lmdb.keys import HISTORY, RECORD, user_end, user_key, user_of

PIECE = 1000
"""Keys that one transaction of a walk reads or deletes."""
NUMBER = struct.Struct(">I")
LIVE, DROPPED = b"\1", b"\0"
"""Behind a layout's number: whether it is being dropped."""

Answer = TypeVar("Answer")


def load(layout: Layout, address: str) -> DurableStore:
    """Opens "lmdb:PATH", with options as in "lmdb:PATH?history=1000"; makes the folder where there is none.

    Raises ConfigError for a wrong option or place, StoreError for a folder that holds anything else.
    """
    return DurableStore(database(address, create=True), layout)


def database(address: str, create: bool = False) -> LmdbDatabase:
    """All that lies at PATH; StoreError where nothing does, unless it is to be made."""
    place, keeping = parse_address("lmdb:PATH", address, Keeping)
    if not place:
        raise ConfigError("expected lmdb:PATH; got no path; name the folder that holds the users' records")
    return LmdbDatabase(Path(place), keeping, create)


class LmdbDatabase:
    """See `Database`. One transaction a write call, on disk before it returns; other processes read and write too.

    After a fork the child opens the folder anew by itself.
    """

    def __init__(self, path: Path, keeping: Keeping, create: bool) -> None:
        self.keeping = keeping
        self.address = f"lmdb:{path}"
        self._environment = Environment.shared(path, create)
        self._open = True
        if keeping.ttl:
            self.expire(time.time() - keeping.ttl)

    def layouts(self) -> list[Layout]:
        def read(txn: Transaction) -> list[Layout]:
            values = txn.cursor(db=self._table(b"layouts")).iternext(keys=False)
            return [Layout.from_dict(_about(value)["layout"]) for value in values]

        return self._environment.run(read)

    def add(self, layout: Layout) -> None:
        key = layout.state_id.encode()

        def write(txn: Transaction) -> None:
            if txn.get(key, db=self._table(b"layouts")) is None:
                (number,) = NUMBER.unpack(txn.get(b"next", NUMBER.pack(0), db=self._table(b"deployrec")))
                txn.put(b"next", NUMBER.pack(number + 1), db=self._table(b"deployrec"))
                about = {"layout": layout.to_dict(), "meta": {}}
                value = NUMBER.pack(number) + LIVE + json.dumps(about).encode()
                txn.put(key, value, db=self._table(b"layouts"))

        found = self._environment.run(lambda txn: bytes(txn.get(key, b"", self._table(b"layouts"))))
        if found[NUMBER.size : NUMBER.size + 1] == DROPPED:
            self.drop(layout.state_id)
        if found[NUMBER.size : NUMBER.size + 1] != LIVE:
            self._environment.run(write, write=True)

    def get(self, state_id: str, users: Sequence[str]) -> list[bytes | None]:
        keys = [user_key(user) for user in users]

        def read(txn: Transaction) -> list[bytes | None]:
            record, get, table = self._record(txn, state_id), txn.get, self._table(b"users")
            found = [get(key + record, None, table) for key in keys]
            return [None if value is None else bytes(value) for value in found]

        return self._environment.run(read)

    def read(self, state_id: str, users: Sequence[str]) -> tuple[list[bytes | None], list[int]]:
        keys = [user_key(user) for user in users]

        def both(txn: Transaction) -> tuple[list[bytes | None], list[int]]:
            record, get, table = self._record(txn, state_id), txn.get, self._table(b"users")
            found = [get(key + record, None, table) for key in keys]
            values = [None if value is None else bytes(value) for value in found]
            if self.keeping.history == 0:
                return values, [0] * len(keys)
            histories = Histories(txn, table, self.keeping.history)
            return values, [histories.total(key) for key in keys]

        return self._environment.run(both)

    def swap(
        self, state_id: str, users: Sequence[str], values: Sequence[bytes], read: Sequence[Sequence[bytes]]
    ) -> list[int]:
        keys, now = [user_key(user) for user in users], time.time()

        def write(txn: Transaction) -> list[int]:
            record, get, put, table = self._record(txn, state_id), txn.get, txn.put, self._table(b"users")
            lost, histories = [], Histories(txn, table, self.keeping.history)
            for place, (key, value) in enumerate(zip(keys, values, strict=True)):
                items = read[place] if read else ()
                same = replaces(value, get(key + record, None, table))
                if same and histories.append(key, items, now, end=position(value)):
                    put(key + record, value, db=table)
                else:
                    lost.append(place)
            return lost

        return self._environment.run(write, write=True)

    def put(self, state_id: str, users: Sequence[str], values: Sequence[bytes]) -> None:
        keys = [user_key(user) for user in users]

        def write(txn: Transaction) -> None:
            record = self._record(txn, state_id)
            for key, value in zip(keys, values, strict=True):
                txn.put(key + record, value, db=self._table(b"users"))

        self._environment.run(write, write=True)

    def scan(self, state_id: str) -> Iterator[tuple[list[str], list[bytes]]]:
        for pairs in self._pieces(state_id, bytes):
            yield [user_of(key) for key, _ in pairs], [value for _, value in pairs]

    def size(self, state_id: str) -> tuple[int, int]:
        sizes = [size for pairs in self._pieces(state_id, len) for _, size in pairs]
        return len(sizes), sum(sizes)

    def histories(self, users: Sequence[str]) -> list[History]:
        keys = [user_key(user) for user in users]

        def read(txn: Transaction) -> list[History]:
            histories = Histories(txn, self._table(b"users"), self.keeping.history)
            return [histories.of(key) for key in keys]

        return self._environment.run(read)

    def num_histories(self) -> int:
        return sum(map(len, self.users_with_histories()))

    def put_histories(self, users: Sequence[str], histories: Sequence[History]) -> None:
        keys = [user_key(user) for user in users]

        def write(txn: Transaction) -> None:
            table = Histories(txn, self._table(b"users"), self.keeping.history)
            for key, history in zip(keys, histories, strict=True):
                table.drop(key)
                table.append(key, history.entries(), history.written, history.total - len(history.items))

        self._environment.run(write, write=True)

    def scan_histories(self) -> Iterator[tuple[list[str], list[History]]]:
        for users in self.users_with_histories():
            yield users, self.histories(users)

    def forget(self, users: Sequence[str]) -> list[bool]:
        keys = [user_key(user) for user in users]

        def write(txn: Transaction) -> list[bool]:
            cursor = txn.cursor(db=self._table(b"users"))
            found = []
            for user in keys:
                here = there = cursor.set_range(user) and bytes(cursor.key()).startswith(user)
                while here:
                    here = cursor.delete() and bytes(cursor.key()).startswith(user)
                found.append(there)
            return found

        return self._environment.run(write, write=True)

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
        count = sum(self._deleted([key for key, _ in pairs]) for pairs in self._walk(record, len))
        self._environment.run(lambda txn: txn.delete(key, db=self._table(b"layouts")), write=True)
        return count

    def expire(self, before: float) -> tuple[int, int]:
        def histories(keys: Sequence[bytes]) -> Callable[[Transaction], int]:
            def write(txn: Transaction) -> int:
                table = Histories(txn, self._table(b"users"), None)
                return sum(table.drop(key) for key in keys if table.written(key) < before)

            return write

        records = 0
        for pairs in self._walk(RECORD, last_write):
            records += self._deleted([key for key, written in pairs if written < before], before)
        dropped_histories = 0
        for users in self.users_with_histories():
            old = self._environment.run(self._old([user_key(user) for user in users], before))
            if old:
                dropped_histories += self._environment.run(histories(old), write=True)
        return records, dropped_histories

    def meta(self, state_id: str) -> dict[str, Any]:
        def read(txn: Transaction) -> dict[str, Any]:
            self._record(txn, state_id)
            return _about(txn.get(state_id.encode(), db=self._table(b"layouts")))

        found: dict[str, Any] = self._environment.run(read)["meta"]
        return found

    def set_meta(self, state_id: str, meta: Mapping[str, Any]) -> None:
        checked, key = json.loads(json.dumps(dict(meta), allow_nan=False)), state_id.encode()

        def write(txn: Transaction) -> None:
            self._record(txn, state_id)
            value = bytes(txn.get(key, db=self._table(b"layouts")))
            about = json.dumps({**_about(value), "meta": checked}).encode()
            txn.put(key, value[: NUMBER.size + 1] + about, db=self._table(b"layouts"))

        self._environment.run(write, write=True)

    def num_bytes(self) -> int:
        return (self._environment.path / "data.mdb").stat().st_size

    def close(self) -> None:
        if self._open:
            self._open = False
            self._environment.release()

    def _table(self, name: bytes) -> object:
        return self._environment.tables[name]

    def _record(self, txn: Transaction, state_id: str) -> bytes:
        """What stands behind the users' keys of the layout's records; StaleStateError once it has been dropped."""
        value = txn.get(state_id.encode(), db=self._table(b"layouts"))
        if value is None or value[NUMBER.size : NUMBER.size + 1] != LIVE:
            raise dropped(self.address, state_id)
        return RECORD + bytes(value[: NUMBER.size])

    def _pieces(self, state_id: str, of: Callable[[Any], Answer]) -> Iterator[list[tuple[bytes, Answer]]]:
        """The layout's records by the users' keys, as `of` makes them of the bytes."""
        record = self._environment.run(lambda txn: self._record(txn, state_id))
        return self._walk(record, of)

    def _walk(self, kind: bytes, of: Callable[[Any], Answer]) -> Iterator[list[tuple[bytes, Answer]]]:
        """All keys that go on like this behind the user, with what `of` makes of the value; a transaction a piece."""
        start: bytes | None = b""

        def read(txn: Transaction) -> tuple[list[tuple[bytes, Answer]], bytes | None]:
            cursor = txn.cursor(db=self._table(b"users"))
            found, key = [], b""
            for view, value in islice(cursor.iternext() if cursor.set_range(start) else (), PIECE):
                key = bytes(view)
                if key.startswith(kind, user_end(key)):
                    found.append((key, of(value)))
            return found, key + b"\0" if key else None

        while start is not None:
            found, start = self._environment.run(read)
            if found:
                yield found

    def users_with_histories(self) -> Iterator[list[str]]:
        last = None
        for pairs in self._walk(HISTORY, len):
            users = list(dict.fromkeys(user_of(key) for key, _ in pairs))
            yield [user for user in users if user != last]
            last = users[-1]

    def _deleted(self, keys: Sequence[bytes], before: float = math.inf) -> int:
        """Deletes those of the records that are still from before that moment; how many they were."""

        def write(txn: Transaction) -> int:
            table = self._table(b"users")
            values = [txn.get(key, db=table) for key in keys]
            old = [key for key, value in zip(keys, values, strict=True) if value and last_write(value) < before]
            return sum(txn.delete(key, db=table) for key in old)

        return self._environment.run(write, write=True) if keys else 0

    def _old(self, keys: Sequence[bytes], before: float) -> Callable[[Transaction], list[bytes]]:
        def read(txn: Transaction) -> list[bytes]:
            table = Histories(txn, self._table(b"users"), None)
            return [key for key in keys if table.written(key) < before]

        return read


def _about(value: bytes) -> dict[str, Any]:
    """A layout's layout and meta."""
    found: dict[str, Any] = json.loads(bytes(value[NUMBER.size + 1 :]))
    return found
