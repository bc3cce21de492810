"""An LMDB environment as one process holds it: opened once, grown where it is full, opened anew after a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import lmdb

from deployrec.errors import ConfigError, StoreError
from deployrec.files import check_writable, first_line
from deployrec.runtime.records import is_record
from deployrec.runtime.stores.lmdb.keys import RECORD, user_end
from deployrec.runtime.stores.lmdb.log import Log

TABLES = (b"deployrec", b"layouts", b"users", b"log")
"""The format and the next layout's number; layouts by id; all that is kept of users; the newest events (see `log`)."""
FORMAT = b"2"
FIRST_MAP = 64 * 2**20
"""Bytes of a new store's map; it doubles when it is full, and takes room on disk only as it fills."""
MAX_READERS = 1024

Answer = TypeVar("Answer")
Transaction = Any


class Environment:
    """One environment as this process holds it, for all who name it: LMDB allows a process to open a folder once."""

    _shared: ClassVar[dict[tuple[int, int], Environment]] = {}
    _sharing = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.holders = 0
        self.tables: dict[bytes, Any] = {}
        self.log = Log()
        self._lock = threading.Lock()
        self._open()

    @classmethod
    def shared(cls, path: Path, create: bool) -> Environment:
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

    def run(
        self,
        work: Callable[[Transaction], Answer],
        write: bool = False,
        then: Callable[[Answer], object] = lambda _: None,
    ) -> Answer:
        """The answer of `work` in one transaction, begun anew in a larger map where this one was full.

        `then` takes the answer once it is on disk, before any other transaction of this process begins. Raises
        StoreError for what the disk or another program did to the folder.
        """
        with self._lock:
            if self._pid != os.getpid():
                self._env.close()
                self._open()
            while True:
                try:
                    with self._env.begin(write=write, buffers=True) as txn:
                        self.log.follow(txn, self.tables[b"log"], txn.id() - write)
                        answer = work(txn)
                    then(answer)
                    return answer
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
                f"expected a store of format {FORMAT.decode()} in {self.path}; "
                f"got format {found.decode(errors='replace')}; "
                "open it with the deployrec that wrote it"
            )
        missing = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"] - (
            self.path / "data.mdb"
        ).stat().st_size
        if missing > 0:
            self._check_pages(missing)

    def _check_pages(self, missing: int) -> None:
        """Reads everything once: pages at the file's end may be missing only where nothing lies in them.

        A child process does, for LMDB ends the process that comes upon a page that is none.
        """
        data = self.path / "data.mdb"
        os.truncate(data, data.stat().st_size + missing)  # reading beyond the file's end would end it too
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                _walk(self.path)
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1]:
            self._env.close()
            os.truncate(data, data.stat().st_size - missing)
            raise lmdb.CorruptedError("pages are missing at its end")

    @classmethod
    def _after_fork(cls) -> None:
        cls._sharing = threading.Lock()
        for environment in cls._shared.values():
            environment._lock = threading.Lock()


os.register_at_fork(after_in_child=Environment._after_fork)


def _walk(path: Path) -> None:
    """Reads every key and value, and looks at every record's beginning."""
    with lmdb.open(str(path), max_dbs=len(TABLES), readonly=True, lock=False) as environment:
        for name in TABLES:
            table = environment.open_db(name, create=False)
            with environment.begin(db=table, buffers=True) as txn:
                for key, value in txn.cursor():
                    if (
                        name == b"users"
                        and bytes(key).startswith(RECORD, user_end(bytes(key)))
                        and not is_record(value)
                    ):
                        raise lmdb.CorruptedError("a record is missing")


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


def _unusable(path: Path, error: lmdb.Error) -> StoreError:
    return StoreError(
        f"expected a sound store in {path}; got '{first_line(error)}'; check the disk and the folder's permissions, "
        "or take the copy that was made last"
    )
