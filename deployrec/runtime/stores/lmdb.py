"""Users' records in an LMDB environment: one folder of this machine, shared by its processes, synced at every write."""

from __future__ import annotations

import json
import math
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from deployrec.errors import ConfigError, DataError, StoreError
from deployrec.files import check_writable, first_line
from deployrec.runtime.durable import NO_HISTORY, DurableStore, History, Keeping, dropped, parse_address
from deployrec.runtime.records import is_record, last_write, replaces
from deployrec.runtime.stores.base import Layout

TABLES = (b"deployrec", b"bundles", b"users")
"""The format and the next bundle's number; bundles by id; all that is kept of users."""
FORMAT = b"1"
FIRST_MAP = 64 * 2**20
"""Bytes of a new store's map; it doubles when it is full, and takes room on disk only as it fills."""
MAX_READERS = 1024
MAX_ID = 480
"""Bytes of a user id: LMDB's keys end at 511."""
CHUNK = 64
"""Events of a history in one value: an event writes the newest of these values again."""
PIECE = 1000
"""Keys that one transaction of a walk reads or deletes."""

NUMBER, LENGTH, PLACE = struct.Struct(">I"), struct.Struct(">H"), struct.Struct(">Q")
CHUNK_HEAD, ITEM_HEAD = struct.Struct("<dI"), struct.Struct("<I")
RECORD, HISTORY = b"r", b"h"
"""Behind a user's key: a record, with its bundle's number; a chunk of the history, with the number of events before it.
All of one user lies in neighbouring pages, so that a write touches few."""
LIVE, DROPPED = b"\1", b"\0"
"""Behind a bundle's number: whether it is being dropped."""

Answer = TypeVar("Answer")
Transaction = Any


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
        self._environment = _Environment.shared(path, create)
        self._open = True
        if keeping.ttl:
            self.expire(time.time() - keeping.ttl)

    def layouts(self) -> list[Layout]:
        def read(txn: Transaction) -> list[Layout]:
            values = txn.cursor(db=self._table(b"bundles")).iternext(keys=False)
            return [Layout.from_dict(_about(value)["layout"]) for value in values]

        return self._environment.run(read)

    def add(self, layout: Layout) -> None:
        key = layout.bundle_id.encode()

        def write(txn: Transaction) -> None:
            if txn.get(key, db=self._table(b"bundles")) is None:
                (number,) = NUMBER.unpack(txn.get(b"next", NUMBER.pack(0), db=self._table(b"deployrec")))
                txn.put(b"next", NUMBER.pack(number + 1), db=self._table(b"deployrec"))
                about = {"layout": layout.to_dict(), "meta": {}}
                value = NUMBER.pack(number) + LIVE + json.dumps(about).encode()
                txn.put(key, value, db=self._table(b"bundles"))

        found = self._environment.run(lambda txn: bytes(txn.get(key, b"", self._table(b"bundles"))))
        if found[NUMBER.size : NUMBER.size + 1] == DROPPED:
            self.drop(layout.bundle_id)
        if found[NUMBER.size : NUMBER.size + 1] != LIVE:
            self._environment.run(write, write=True)

    def get(self, bundle_id: str, users: Sequence[str]) -> list[bytes | None]:
        keys = [_user_key(user) for user in users]

        def read(txn: Transaction) -> list[bytes | None]:
            record, get, table = self._record(txn, bundle_id), txn.get, self._table(b"users")
            found = [get(key + record, None, table) for key in keys]
            return [None if value is None else bytes(value) for value in found]

        return self._environment.run(read)

    def swap(
        self, bundle_id: str, users: Sequence[str], values: Sequence[bytes], read: Sequence[Sequence[str]]
    ) -> list[int]:
        keys, now = [_user_key(user) for user in users], time.time()

        def write(txn: Transaction) -> list[int]:
            record, get, put, table = self._record(txn, bundle_id), txn.get, txn.put, self._table(b"users")
            lost, histories = [], _Histories(txn, table, self.keeping.history)
            for place, (key, value) in enumerate(zip(keys, values, strict=True)):
                if not replaces(value, get(key + record, None, table)):
                    lost.append(place)
                    continue
                put(key + record, value, db=table)
                if read and read[place]:
                    histories.append(key, read[place], now)
            return lost

        return self._environment.run(write, write=True)

    def put(self, bundle_id: str, users: Sequence[str], values: Sequence[bytes]) -> None:
        keys = [_user_key(user) for user in users]

        def write(txn: Transaction) -> None:
            record = self._record(txn, bundle_id)
            for key, value in zip(keys, values, strict=True):
                txn.put(key + record, value, db=self._table(b"users"))

        self._environment.run(write, write=True)

    def scan(self, bundle_id: str) -> Iterator[tuple[list[str], list[bytes]]]:
        for pairs in self._pieces(bundle_id, bytes):
            yield [_user(key) for key, _ in pairs], [value for _, value in pairs]

    def size(self, bundle_id: str) -> tuple[int, int]:
        sizes = [size for pairs in self._pieces(bundle_id, len) for _, size in pairs]
        return len(sizes), sum(sizes)

    def histories(self, users: Sequence[str]) -> list[History]:
        keys = [_user_key(user) for user in users]

        def read(txn: Transaction) -> list[History]:
            histories = _Histories(txn, self._table(b"users"), self.keeping.history)
            return [histories.of(key) for key in keys]

        return self._environment.run(read)

    def num_histories(self) -> int:
        return sum(map(len, self._users_with_histories()))

    def put_histories(self, users: Sequence[str], histories: Sequence[History]) -> None:
        keys = [_user_key(user) for user in users]

        def write(txn: Transaction) -> None:
            table = _Histories(txn, self._table(b"users"), self.keeping.history)
            for key, history in zip(keys, histories, strict=True):
                table.drop(key)
                table.append(key, history.items, history.written, history.total - len(history.items))

        self._environment.run(write, write=True)

    def scan_histories(self) -> Iterator[tuple[list[str], list[History]]]:
        for users in self._users_with_histories():
            yield users, self.histories(users)

    def forget(self, users: Sequence[str]) -> list[bool]:
        keys = [_user_key(user) for user in users]

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

    def drop(self, bundle_id: str) -> int:
        key = bundle_id.encode()

        def mark(txn: Transaction) -> bytes:
            value = txn.get(key, db=self._table(b"bundles"))
            if value is None:
                raise dropped(self.address, bundle_id)
            number, about = bytes(value[: NUMBER.size]), bytes(value[NUMBER.size + 1 :])
            txn.put(key, number + DROPPED + about, db=self._table(b"bundles"))
            return RECORD + number

        record = self._environment.run(mark, write=True)
        count = sum(self._deleted([key for key, _ in pairs]) for pairs in self._walk(record, len))
        self._environment.run(lambda txn: txn.delete(key, db=self._table(b"bundles")), write=True)
        return count

    def expire(self, before: float) -> tuple[int, int]:
        def histories(keys: Sequence[bytes]) -> Callable[[Transaction], int]:
            def write(txn: Transaction) -> int:
                table = _Histories(txn, self._table(b"users"), None)
                return sum(table.drop(key) for key in keys if table.written(key) < before)

            return write

        records = 0
        for pairs in self._walk(RECORD, last_write):
            records += self._deleted([key for key, written in pairs if written < before], before)
        dropped_histories = 0
        for users in self._users_with_histories():
            keys = [_user_key(user) for user in users]
            old = self._environment.run(lambda txn, keys=keys: self._old(txn, keys, before))
            if old:
                dropped_histories += self._environment.run(histories(old), write=True)
        return records, dropped_histories

    def meta(self, bundle_id: str) -> dict[str, Any]:
        def read(txn: Transaction) -> dict[str, Any]:
            self._record(txn, bundle_id)
            return _about(txn.get(bundle_id.encode(), db=self._table(b"bundles")))

        found: dict[str, Any] = self._environment.run(read)["meta"]
        return found

    def set_meta(self, bundle_id: str, meta: Mapping[str, Any]) -> None:
        checked, key = json.loads(json.dumps(dict(meta), allow_nan=False)), bundle_id.encode()

        def write(txn: Transaction) -> None:
            self._record(txn, bundle_id)
            value = bytes(txn.get(key, db=self._table(b"bundles")))
            about = json.dumps({**_about(value), "meta": checked}).encode()
            txn.put(key, value[: NUMBER.size + 1] + about, db=self._table(b"bundles"))

        self._environment.run(write, write=True)

    def num_bytes(self) -> int:
        return (self._environment.path / "data.mdb").stat().st_size

    def close(self) -> None:
        if self._open:
            self._open = False
            self._environment.release()

    def _table(self, name: bytes) -> object:
        return self._environment.tables[name]

    def _record(self, txn: Transaction, bundle_id: str) -> bytes:
        """What stands behind the users' keys of the bundle's records; StaleStateError once it has been dropped."""
        value = txn.get(bundle_id.encode(), db=self._table(b"bundles"))
        if value is None or value[NUMBER.size : NUMBER.size + 1] != LIVE:
            raise dropped(self.address, bundle_id)
        return RECORD + bytes(value[: NUMBER.size])

    def _pieces(self, bundle_id: str, of: Callable[[Any], Answer]) -> Iterator[list[tuple[bytes, Answer]]]:
        """The bundle's records by the users' keys, as `of` makes them of the bytes."""
        record = self._environment.run(lambda txn: self._record(txn, bundle_id))
        return self._walk(record, of)

    def _walk(self, kind: bytes, of: Callable[[Any], Answer]) -> Iterator[list[tuple[bytes, Answer]]]:
        """All keys that go on like this behind the user, with what `of` makes of the value; a transaction a piece."""
        start: bytes | None = b""

        def read(txn: Transaction) -> tuple[list[tuple[bytes, Answer]], bytes | None]:
            cursor = txn.cursor(db=self._table(b"users"))
            found, key = [], b""
            for view, value in islice(cursor.iternext() if cursor.set_range(start) else (), PIECE):
                key = bytes(view)
                if key.startswith(kind, _user_end(key)):
                    found.append((key, of(value)))
            return found, key + b"\0" if key else None

        while start is not None:
            found, start = self._environment.run(read)
            if found:
                yield found

    def _users_with_histories(self) -> Iterator[list[str]]:
        last = None
        for pairs in self._walk(HISTORY, len):
            users = list(dict.fromkeys(_user(key) for key, _ in pairs))
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

    def _old(self, txn: Transaction, keys: Sequence[bytes], before: float) -> list[bytes]:
        table = _Histories(txn, self._table(b"users"), None)
        return [key for key in keys if table.written(key) < before]


class _Histories:
    """Histories in one transaction. A user's chunks lie under (user, events before the chunk)."""

    def __init__(self, txn: Transaction, table: object, kept: int | None) -> None:
        self.txn = txn
        self.table = table
        self.kept = kept
        self.cursor = txn.cursor(db=table)

    def append(self, user: bytes, items: Sequence[str], written: float, first: int = 0) -> None:
        """Puts items behind the user's history; `first` are said to have been before where there is none."""
        if self.kept == 0 or not items:
            return
        count, body = 0, b""
        if newest := self._newest(user):
            first, chunk = newest
            _, count = CHUNK_HEAD.unpack_from(chunk)
            body = chunk[CHUNK_HEAD.size :]
        new = [ITEM_HEAD.pack(len(text)) + text for item in items for text in (item.encode(),)]
        total = first + count + len(new)
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

    def of(self, user: bytes) -> History:
        items: list[str] = []
        first, written = 0, 0.0
        for place, chunk in self._chunks(user):
            first = place if not items else first
            written, texts = _items(chunk)
            items += texts
        if not items:
            return NO_HISTORY
        total = first + len(items)
        return History(items if self.kept is None else items[len(items) - min(self.kept, len(items)) :], total, written)

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


class _Environment:
    """One environment as this process holds it, for all who name it: LMDB allows a process to open a folder once."""

    _shared: dict[tuple[int, int], _Environment] = {}
    _sharing = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.holders = 0
        self.tables: dict[bytes, Any] = {}
        self._lock = threading.Lock()
        self._open()

    @classmethod
    def shared(cls, path: Path, create: bool) -> _Environment:
        with cls._sharing:
            _check_folder(path, create)
            path.mkdir(exist_ok=True)
            key = (path.stat().st_dev, path.stat().st_ino)
            if key not in cls._shared:
                cls._shared[key] = cls(path)
            environment = cls._shared[key]
            environment.holders += 1
            return environment

    def release(self) -> None:
        with self._sharing:
            self.holders -= 1
            if not self.holders:
                self._env.close()
                type(self)._shared = {key: one for key, one in self._shared.items() if one is not self}

    def run(self, work: Callable[[Transaction], Answer], write: bool = False) -> Answer:
        """The answer of `work` in one transaction, begun anew in a larger map where this one was full.

        Raises StoreError for what the disk or another program did to the folder.
        """
        with self._lock:
            if self._pid != os.getpid():
                self._env.close()
                self._open()
            while True:
                try:
                    with self._env.begin(write=write, buffers=True) as txn:
                        return work(txn)
                except lmdb.MapFullError:
                    self._env.set_mapsize(2 * self._env.info()["map_size"])
                except lmdb.MapResizedError:
                    self._env.set_mapsize(0)
                except lmdb.Error as error:
                    raise _unusable(self.path, error) from None

    def _open(self) -> None:
        try:
            self._env = lmdb.open(
                str(self.path), FIRST_MAP, mode=0o666, max_dbs=len(TABLES), max_readers=MAX_READERS, create=True
            )
            self._pid = os.getpid()
            self._env.reader_check()
            with self._env.begin() as txn:
                names = [key for key, _ in txn.cursor()]
            if names and TABLES[0] not in names:
                self._env.close()
                raise StoreError(
                    f"expected a store of deployrec in {self.path}; got an LMDB environment of another program; "
                    "name another folder"
                )
            self.tables = {name: self._env.open_db(name) for name in TABLES}
            self._check_format()
        except lmdb.Error as error:
            raise _unusable(self.path, error) from None

    def _check_format(self) -> None:
        deployrec = self.tables[b"deployrec"]
        with self._env.begin(db=deployrec) as txn:
            found = txn.get(b"format")
        if found is None:
            with self._env.begin(db=deployrec, write=True) as txn:
                txn.put(b"format", FORMAT, overwrite=False)
        elif found != FORMAT:
            raise StoreError(
                f"expected a store of format {FORMAT.decode()} in {self.path}; got format {found.decode(errors='replace')}; "
                "open it with the deployrec that wrote it"
            )
        missing = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"] - (
            self.path / "data.mdb"
        ).stat().st_size
        if missing > 0:
            self._check_pages(missing)

    def _check_pages(self, missing: int) -> None:
        """Reads everything once: pages at the file's end may be missing only where nothing lies in them."""
        size = (self.path / "data.mdb").stat().st_size + missing
        os.truncate(self.path / "data.mdb", size)  # a page beyond the file's end would end the process
        with self._env.begin() as txn:
            for name, table in self.tables.items():
                for key, value in txn.cursor(db=table):
                    if name == b"users" and key.startswith(RECORD, _user_end(key)) and not is_record(value):
                        raise lmdb.CorruptedError("records are missing")

    @classmethod
    def _after_fork(cls) -> None:
        cls._sharing = threading.Lock()
        for environment in cls._shared.values():
            environment._lock = threading.Lock()


os.register_at_fork(after_in_child=_Environment._after_fork)


def _check_folder(path: Path, create: bool) -> None:
    """Raises ConfigError or StoreError where there is no store and none can be made."""
    if path.is_dir():
        if (path / "data.mdb").exists():
            return
        if create and not any(path.iterdir()):
            return check_writable(path, "lmdb:PATH")
        got = "no data.mdb in it"
    elif path.exists():
        got = "a file"
    elif create and path.parent.is_dir():
        return check_writable(path.parent, "lmdb:PATH")
    elif create:
        raise ConfigError(f"expected a folder for {path}; got none; make {path.parent}, or name another folder")
    else:
        got = "no such folder"
    do = "name an empty folder or a new one" if create else "name the folder that a Recommender keeps its users in"
    raise StoreError(f"expected a store's folder {path}; got {got}; {do}")


def _user_key(user: str) -> bytes:
    """A key that begins no other user's: the id's length, the id."""
    text = user.encode()
    if len(text) > MAX_ID:
        raise DataError(
            f"expected user ids of at most {MAX_ID} bytes in an LMDB store; got one of {len(text):,}; "
            "shorten it, or take a store in Redis"
        )
    return LENGTH.pack(len(text)) + text


def _user_end(key: bytes) -> int:
    """Where what stands behind the user begins."""
    end: int = LENGTH.unpack_from(key)[0] + LENGTH.size
    return end


def _user(key: bytes) -> str:
    return key[LENGTH.size : _user_end(key)].decode()


def _about(value: bytes) -> dict[str, Any]:
    """A bundle's layout and meta."""
    found: dict[str, Any] = json.loads(bytes(value[NUMBER.size + 1 :]))
    return found


def _chunk_of(user: bytes, key: bytes) -> bool:
    return key[: len(user) + 1] == user + HISTORY


def _items(chunk: bytes) -> tuple[float, list[str]]:
    """When the chunk was written, and its items."""
    written, count = CHUNK_HEAD.unpack_from(chunk)
    at, items = CHUNK_HEAD.size, []
    for _ in range(count):
        (length,) = ITEM_HEAD.unpack_from(chunk, at)
        at += ITEM_HEAD.size + length
        items.append(chunk[at - length : at].decode())
    return written, items


def _unusable(path: Path, error: lmdb.Error) -> StoreError:
    return StoreError(
        f"expected a sound store in {path}; got '{first_line(error)}'; check the disk and the folder's permissions, "
        "or take the copy that was made last"
    )
