"""Users' records in an LMDB environment: one folder of this machine, shared by its processes, synced at every write."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deployrec.errors import ConfigError
from deployrec.runtime.durable import History, parse_address
from deployrec.runtime.records import position, positions, version_of
from deployrec.runtime.stores.base import Layout
from deployrec.runtime.stores.lmdb.environment import Transaction
from deployrec.runtime.stores.lmdb.histories import Histories, completed, lies_behind
from deployrec.runtime.stores.lmdb.keys import user_key
from deployrec.runtime.stores.lmdb.log import NUMBER as LOG_NUMBER
from deployrec.runtime.stores.lmdb.log import Tail, Turn, value_of
from deployrec.runtime.stores.lmdb.tables import DROPPED, LIVE, NUMBER, LmdbKeeping
from deployrec.runtime.stores.lmdb.walks import Walks


class Record(NamedTuple):
    """A record to be put in place of the one before, and the entries of what it has read since, behind the history."""

    user: str
    value: bytes
    entries: Sequence[bytes] = ()
    life: int = 0
    """what the journal is to be known by from then on; 0 where it is to go"""


Further = tuple[str, bytes, int, Tail]
"""Events to be put behind a user's journal: user, key, the number of a transaction as of which the history was known to
be in that life and to end where these begin, and the events as in the log."""


def database(address: str, create: bool = False) -> LmdbDatabase:
    """All that lies at PATH; StoreError where nothing does, unless it is to be made."""
    place, keeping = parse_address("lmdb:PATH", address, LmdbKeeping)
    if not place:
        raise ConfigError("expected lmdb:PATH; got no path; name the folder that holds the users' records")
    return LmdbDatabase(Path(place), keeping, create)


class LmdbDatabase(Walks):
    """See `Database`. One transaction a write call, on disk before it returns; other processes read and write too.

    After a fork the child opens the folder anew by itself.
    """

    def __init__(self, path: Path, keeping: LmdbKeeping, create: bool) -> None:
        super().__init__(path, keeping, create)
        self._last = self._since = 0
        """numbers of the newest transaction that this object knows of, and of the one since which all were its own"""
        if keeping.ttl:
            self.expire(time.time() - keeping.ttl)

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
        return self.read(state_id, users)[0]

    def read(self, state_id: str, users: Sequence[str]) -> tuple[list[bytes | None], list[int], list[int]]:
        keys = [user_key(user) for user in users]

        def all_three(txn: Transaction) -> tuple[list[bytes | None], list[int], list[int]]:
            record, get, table = self._record(txn, state_id), txn.get, self._table(b"users")
            found = [get(key + record, None, table) for key in keys]
            values = [None if value is None else bytes(value) for value in found]
            histories, unit = self._histories(txn), self._unit(txn, state_id)
            journals = [histories.journal(key) for key in keys]
            told = positions(values)
            for n, (value, journal) in enumerate(zip(values, journals, strict=True)):
                if value is not None and lies_behind(value, journal):
                    values[n], told[n] = completed(value, journal, unit), journal.total
            return values, told, [journal.total for journal in journals]

        return self._environment.run(all_three)

    def put(self, state_id: str, users: Sequence[str], values: Sequence[bytes]) -> None:
        keys, now = [user_key(user) for user in users], time.time()

        def write(txn: Transaction) -> None:
            record, histories = self._record(txn, state_id), self._histories(txn)
            for key, value in zip(keys, values, strict=True):
                histories.settle(key, histories.journal(key), (), now)
                txn.put(key + record, value, db=self._table(b"users"))

        self._environment.run(write, write=True)

    def swap(
        self, state_id: str, users: Sequence[str], values: Sequence[bytes], read: Sequence[Sequence[bytes]]
    ) -> list[int]:
        entries = read if read and self.keeping.history != 0 else [()] * len(users)
        lost, _ = self.write(state_id, list(map(Record, users, values, entries)), ())
        return [place for place, user in enumerate(users) if user in lost]

    def write(self, state_id: str, records: Sequence[Record], further: Sequence[Further]) -> tuple[set[str], int]:
        """`swap` of records, and events put behind journals; answers with the users who lost, and its number.

        Brings part of the journals up to date when it is their turn (see `log`).
        """
        now, log = time.time(), self._environment.log
        settling = [(user_key(record.user), record) for record in records]

        def work(txn: Transaction) -> tuple[set[str], int, int, list[tuple[bytes, Tail]], Turn]:
            kind, histories, number = self._record(txn, state_id), self._histories(txn), int(txn.id())
            since = self._since if number == self._last + 1 else number
            lost = {
                user
                for user, key, known_at, tail in further
                if known_at < since and not histories.is_at(key, *tail[:2])
            }
            parts = [(key, tail) for user, key, _, tail in further if not lost or user not in lost]
            lost |= {record.user for key, record in settling if not self._settle(histories, key, kind, record, now)}
            turn = log.due()
            for key in turn.keys:
                histories.fold(key)
            values = self._table(b"log")
            turn.drop(txn, values)
            if parts:
                txn.put(LOG_NUMBER.pack(number), value_of(parts), db=values)
            return lost, number, since, parts, turn

        def note(done: tuple[set[str], int, int, list[tuple[bytes, Tail]], Turn]) -> None:
            lost, number, since, parts, turn = done
            settled = [key for key, record in settling if record.user not in lost]
            if parts or settled:  # else LMDB gives the number to the next
                log.done(turn, settled, number, parts)
                self._last, self._since = number, since

        lost, number, *_ = self._environment.run(work, write=True, then=note)
        return lost, number

    def put_histories(self, users: Sequence[str], histories: Sequence[History]) -> None:
        keys = [user_key(user) for user in users]

        def write(txn: Transaction) -> None:
            table = self._histories(txn)
            for key, history in zip(keys, histories, strict=True):
                table.drop(key)
                table.append(key, history.entries(), history.written, history.total - len(history.items))

        self._environment.run(write, write=True)

    def forget(self, users: Sequence[str]) -> list[bool]:
        keys = [user_key(user) for user in users]

        def write(txn: Transaction) -> list[bool]:
            self._fold(txn)  # the log held something of them too
            cursor = txn.cursor(db=self._table(b"users"))
            found = []
            for user in keys:
                here = there = cursor.set_range(user) and bytes(cursor.key()).startswith(user)
                while here:
                    here = cursor.delete() and bytes(cursor.key()).startswith(user)
                found.append(there)
            return found

        return self._environment.run(write, write=True)

    def fold(self) -> None:
        """Brings all journals up to date and empties the log."""
        if self._environment.run(lambda txn: txn.stat(self._table(b"log"))["entries"]):
            self._environment.run(self._fold, write=True)

    def undisturbed_since(self) -> int:
        """Number of a transaction, perhaps of this one, since which nobody has written but this object."""
        return self._environment.run(self._look)

    def are_at(self, held: Sequence[tuple[bytes, int, int]]) -> tuple[list[bool], int]:
        """Whether the user of each key, in that life, has a history of so many events, as of which transaction."""

        def read(txn: Transaction) -> tuple[list[bool], int]:
            is_at = self._histories(txn).is_at
            return [is_at(key, life, total) for key, life, total in held], self._look(txn)

        return self._environment.run(read)

    def _look(self, txn: Transaction) -> int:
        if (now := int(txn.id())) != self._last:
            self._last = self._since = now
        return self._since

    def _fold(self, txn: Transaction) -> None:
        histories = self._histories(txn)
        for key in sorted(histories.tails):
            histories.fold(key)
        txn.drop(self._table(b"log"), delete=False)

    def _settle(self, histories: Histories, key: bytes, kind: bytes, record: Record, now: float) -> bool:
        """Puts the record and its entries where its version and its position say that it belongs; whether they did."""
        held = histories.txn.get(key + kind, None, histories.table)
        journal, version = histories.journal(key), 0
        if held is not None:
            version = version_of(held) + lies_behind(held, journal)
        if version_of(record.value) != version + 1 or position(record.value) != journal.total + len(record.entries):
            return False
        histories.settle(key, journal, record.entries, now, record.life)
        histories.txn.put(key + kind, record.value, db=histories.table)
        return True
