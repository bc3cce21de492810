"""Users' records in an LMDB environment: one folder of this machine, shared by its processes, synced at every write."""

from __future__ import annotations

import json
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

TABLES = (b"deployrec", b"layouts", b"records", b"histories")
"""The store's format and next number; bundles by id; records by the bundle's number and user; histories by user."""
FORMAT = b"1"
FIRST_MAP = 64 * 2**20
"""Bytes of a new store's map; it doubles when it is full, and takes room on disk only as it fills."""
MAX_READERS = 1024
MAX_ID = 480
"""Bytes of a user id: LMDB's keys end at 511."""
CHUNK = 64
"""Events of a history in one value: an event writes the newest of these values again."""
PIECE = 1000
"""Records that one transaction of a walk reads or deletes."""

NUMBER, LENGTH, PLACE = struct.Struct(">I"), struct.Struct(">H"), struct.Struct(">Q")
CHUNK_HEAD, ITEM_HEAD = struct.Struct("<dI"), struct.Struct("<I")

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
            found = txn.cursor(db=self._table(b"layouts")).iternext(keys=False)
            return [Layout.from_dict(_bundle(value)[1]["layout"]) for value in found]

        return self._environment.run(read)

    def add(self, layout: Layout) -> None:
        key = layout.bundle_id.encode()

        def write(txn: Transaction) -> None:
            if txn.get(key, db=self._table(b"layouts")) is None:
                (number,) = NUMBER.unpack(txn.get(b"next", NUMBER.pack(0), db=self._table(b"deployrec")))
                txn.put(b"next", NUMBER.pack(number + 1), db=self._table(b"deployrec"))
                about = {"layout": layout.to_dict(), "meta": {}}
                txn.put(key, NUMBER.pack(number) + json.dumps(about).encode(), db=self._table(b"layouts"))

        if not self._environment.run(lambda txn: txn.get(key, db=self._table(b"layouts"))):
            self._environment.run(write, write=True)

    def get(self, bundle_id: str, users: Sequence[str]) -> list[bytes | None]:
        keys = [_user_key(user) for user in users]

        def read(txn: Transaction) -> list[bytes | None]:
            number, get, records = self._number(txn, bundle_id), txn.get, self._table(b"records")
            found = [get(number + key, None, records) for key in keys]
            return [None if value is None else bytes(value) for value in found]

        return self._environment.run(read)

    def swap(
        self, bundle_id: str, users: Sequence[str], values: Sequence[bytes], read: Sequence[Sequence[str]]
    ) -> list[int]:
        keys, now = [_user_key(user) for user in users], time.time()

        def write(txn: Transaction) -> list[int]:
            number, get, put, records = self._number(txn, bundle_id), txn.get, txn.put, self._table(b"records")
            lost, histories = [], _Histories(txn, self._table(b"histories"), self.keeping.history)
            for place, (key, value) in enumerate(zip(keys, values, strict=True)):
                if not replaces(value, get(number + key, None, records)):
                    lost.append(place)
                    continue
                put(number + key, value, db=records)
                if read and read[place]:
                    histories.append(key, read[place], now)
            return lost

        return self._environment.run(write, write=True)

    def put(self, bundle_id: str, users: Sequence[str], values: Sequence[bytes]) -> None:
        keys = [_user_key(user) for user in users]

        def write(txn: Transaction) -> None:
            number = self._number(txn, bundle_id)
            for key, value in zip(keys, values, strict=True):
                txn.put(number + key, value, db=self._table(b"records"))

        self._environment.run(write, write=True)

    def scan(self, bundle_id: str) -> Iterator[tuple[list[str], list[bytes]]]:
        number = self._environment.run(lambda txn: self._number(txn, bundle_id))
        for pairs in self._pieces(b"records", number):
            yield [_user(key[len(number) :]) for key, _ in pairs], [value for _, value in pairs]

    def size(self, bundle_id: str) -> tuple[int, int]:
        number = self._environment.run(lambda txn: self._number(txn, bundle_id))
        sizes = [size for pairs in self._pieces(b"records", number, len) for _, size in pairs]
        return len(sizes), sum(sizes)

    def histories(self, users: Sequence[str]) -> list[History]:
        keys = [_user_key(user) for user in users]

        def read(txn: Transaction) -> list[History]:
            histories = _Histories(txn, self._table(b"histories"), self.keeping.history)
            return [histories.of(key) for key in keys]

        return self._environment.run(read)

    def num_histories(self) -> int:
        return sum(map(len, self._users_with_histories()))

    def put_histories(self, users: Sequence[str], histories: Sequence[History]) -> None:
        keys = [_user_key(user) for user in users]

        def write(txn: Transaction) -> None:
            table = _Histories(txn, self._table(b"histories"), self.keeping.history)
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
            bundles = [
                bytes(value[: NUMBER.size]) for value in txn.cursor(db=self._table(b"layouts")).iternext(keys=False)
            ]
            histories = _Histories(txn, self._table(b"histories"), self.keeping.history)
            return [
                any([histories.drop(key), *(txn.delete(n + key, db=self._table(b"records")) for n in bundles)])
                for key in keys
            ]

        return self._environment.run(write, write=True)

    def drop(self, bundle_id: str) -> int:
        count = 0

        def write(txn: Transaction) -> int:
            number = self._number(txn, bundle_id)
            cursor = txn.cursor(db=self._table(b"records"))
            here = cursor.set_range(number)
            deleted = 0
            while here and deleted < PIECE and bytes(cursor.key()).startswith(number):
                here = cursor.delete()
                deleted += 1
            if deleted < PIECE:
                txn.delete(bundle_id.encode(), db=self._table(b"layouts"))
            return deleted

        while True:
            deleted = self._environment.run(write, write=True)
            count += deleted
            if deleted < PIECE:
                return count

    def expire(self, before: float) -> tuple[int, int]:
        def records(keys: Sequence[bytes]) -> Callable[[Transaction], int]:
            def write(txn: Transaction) -> int:
                table = self._table(b"records")
                values = [txn.get(key, db=table) for key in keys]
                old = [key for key, value in zip(keys, values, strict=True) if value and last_write(value) < before]
                return sum(txn.delete(key, db=table) for key in old)

            return write

        def histories(keys: Sequence[bytes]) -> Callable[[Transaction], int]:
            def write(txn: Transaction) -> int:
                table = _Histories(txn, self._table(b"histories"), None)
                return sum(table.drop(key) for key in keys if table.written(key) < before)

            return write

        gone = [0, 0]
        for pairs in self._pieces(b"records", b"", last_write):
            if old := [key for key, written in pairs if written < before]:
                gone[0] += self._environment.run(records(old), write=True)
        for users in self._users_with_histories():
            gone[1] += self._environment.run(histories([_user_key(user) for user in users]), write=True)
        return gone[0], gone[1]

    def meta(self, bundle_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self._environment.run(lambda txn: self._about(txn, bundle_id))["meta"]
        return found

    def set_meta(self, bundle_id: str, meta: Mapping[str, Any]) -> None:
        checked = json.loads(json.dumps(dict(meta), allow_nan=False))

        def write(txn: Transaction) -> None:
            about = json.dumps({**self._about(txn, bundle_id), "meta": checked}).encode()
            txn.put(bundle_id.encode(), self._number(txn, bundle_id) + about, db=self._table(b"layouts"))

        self._environment.run(write, write=True)

    def num_bytes(self) -> int:
        return (self._environment.path / "data.mdb").stat().st_size

    def close(self) -> None:
        if self._open:
            self._open = False
            self._environment.release()

    def _table(self, name: bytes) -> object:
        return self._environment.tables[name]

    def _number(self, txn: Transaction, bundle_id: str) -> bytes:
        """The number under which the bundle's records lie; StaleStateError once it has been dropped."""
        value = txn.get(bundle_id.encode(), db=self._table(b"layouts"))
        if value is None:
            raise dropped(self.address, bundle_id)
        return bytes(value[: NUMBER.size])

    def _about(self, txn: Transaction, bundle_id: str) -> dict[str, Any]:
        self._number(txn, bundle_id)
        return _bundle(txn.get(bundle_id.encode(), db=self._table(b"layouts")))[1]

    def _pieces(
        self,
        table: bytes,
        prefix: bytes,
        of: Callable[[Any], Answer] = bytes,  # type: ignore[assignment]
    ) -> Iterator[list[tuple[bytes, Answer]]]:
        """All keys that begin so, and what `of` makes of their values; a transaction each piece."""
        start = prefix

        def read(txn: Transaction) -> list[tuple[bytes, Answer]]:
            cursor = txn.cursor(db=self._table(table))
            if not cursor.set_range(start):
                return []
            pairs = ((bytes(key), value) for key, value in islice(cursor.iternext(), PIECE))
            return [(key, of(value)) for key, value in pairs if key.startswith(prefix)]

        while pairs := self._environment.run(read):
            yield pairs
            start = pairs[-1][0] + b"\0"

    def _users_with_histories(self) -> Iterator[list[str]]:
        start = b""

        def read(txn: Transaction) -> list[bytes]:
            cursor, keys = txn.cursor(db=self._table(b"histories")), [start]
            while len(keys) <= PIECE and cursor.set_range(keys[-1]):
                # Behind all chunks of this user.
                keys.append(bytes(cursor.key()[: -PLACE.size]) + PLACE.pack(2**64 - 1))
            return keys[1:]

        while keys := self._environment.run(read):
            yield [_user(key[: -PLACE.size]) for key in keys]
            start = keys[-1]


class _Histories:
    """The table of histories in one transaction. A user's chunks lie under (user, events before the chunk)."""

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
            self.txn.put(user + PLACE.pack(first), CHUNK_HEAD.pack(written, count) + body, db=self.table)
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
        here, found = self.cursor.set_range(user + PLACE.pack(0)), False
        while here and _chunk_of(user, self.cursor.key()):
            (first,) = PLACE.unpack(self.cursor.key()[-PLACE.size :])
            if first + CHUNK_HEAD.unpack_from(self.cursor.value())[1] > before:
                break
            here, found = self.cursor.delete(), True
        return found

    def _newest(self, user: bytes) -> tuple[int, bytes] | None:
        cursor = self.cursor
        there = cursor.prev() if cursor.set_range(user + PLACE.pack(2**64 - 1)) else cursor.last()
        if not there or not _chunk_of(user, cursor.key()):
            return None
        return PLACE.unpack(cursor.key()[-PLACE.size :])[0], bytes(cursor.value())

    def _chunks(self, user: bytes) -> Iterator[tuple[int, bytes]]:
        here = self.cursor.set_range(user + PLACE.pack(0))
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
                for _, value in txn.cursor(db=table):
                    if name == b"records" and not is_record(value):
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


def _user(key: bytes) -> str:
    return key[LENGTH.size :].decode()


def _bundle(value: bytes) -> tuple[bytes, dict[str, Any]]:
    """A bundle's number, its layout and meta."""
    return bytes(value[: NUMBER.size]), json.loads(bytes(value[NUMBER.size :]))


def _chunk_of(user: bytes, key: bytes) -> bool:
    return len(key) == len(user) + PLACE.size and key[: len(user)] == user


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
