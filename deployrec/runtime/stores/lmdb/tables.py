"""The tables of an LMDB environment as every call on a store uses them, the layouts among them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployrec.options import option
from deployrec.runtime.durable import Keeping, dropped
from deployrec.runtime.stores.base import Layout
from deployrec.runtime.stores.lmdb.environment import Environment, Transaction
from deployrec.runtime.stores.lmdb.histories import Histories
from deployrec.runtime.stores.lmdb.keys import RECORD

NUMBER = struct.Struct(">I")
LIVE, DROPPED = b"\1", b"\0"
"""Behind a layout's number: whether it is being dropped."""


@dataclass(frozen=True)
class LmdbKeeping(Keeping):
    """Further options of a store in LMDB."""

    journal: int = option(
        16, "events of a user that are kept as events before the record is written again; 0 none", at_least=0
    )
    cache_mb: int = option(256, "MiB for records of users who were served last, where there is a journal", at_least=1)

    @property
    def most_behind(self) -> int:
        """Events that a record may lie behind the user's history, which must hold them."""
        return self.journal if self.history is None else min(self.journal, self.history)


class Tables:
    """What lies in a folder, opened with these options."""

    def __init__(self, path: Path, keeping: LmdbKeeping, create: bool) -> None:
        self.keeping: LmdbKeeping = keeping
        self.address = f"lmdb:{path}"
        self._environment = Environment.shared(path, create)
        self._open = True
        self._units: dict[str, str] = {}

    def layouts(self) -> list[Layout]:
        def read(txn: Transaction) -> list[Layout]:
            values = txn.cursor(db=self._table(b"layouts")).iternext(keys=False)
            return [Layout.from_dict(_about(value)["layout"]) for value in values]

        return self._environment.run(read)

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

    def _histories(self, txn: Transaction) -> Histories:
        return Histories(txn, self._table(b"users"), self.keeping.history, self._environment.log.tails)

    def _table(self, name: bytes) -> object:
        return self._environment.tables[name]

    def _unit(self, txn: Transaction, state_id: str) -> str:
        """In which the layout counts time."""
        if state_id not in self._units:
            about = _about(txn.get(state_id.encode(), db=self._table(b"layouts")))
            self._units[state_id] = Layout.from_dict(about["layout"]).unit
        return self._units[state_id]

    def _record(self, txn: Transaction, state_id: str) -> bytes:
        """What stands behind the users' keys of the layout's records; StaleStateError once it has been dropped."""
        value = txn.get(state_id.encode(), db=self._table(b"layouts"))
        if value is None or value[NUMBER.size : NUMBER.size + 1] != LIVE:
            raise dropped(self.address, state_id)
        return RECORD + bytes(value[: NUMBER.size])


def _about(value: bytes) -> dict[str, Any]:
    """A layout's layout and meta."""
    found: dict[str, Any] = json.loads(bytes(value[NUMBER.size + 1 :]))
    return found
