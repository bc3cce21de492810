"""The store of one process: users' tensors in growing arrays, used in place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from deployrec.errors import ConfigError
from deployrec.runtime.stores.base import NOBODY, ConflictError, Layout, Record, Rows

FIRST_SLOTS = 64


def load(layout: Layout, address: str = "") -> MemoryStore:
    """Opens "memory", or "memory:N", which keeps the N most recently used users and drops the others."""
    if address and not (address.isascii() and address.isdigit() and int(address)):
        raise ConfigError(f"expected memory or memory:MAX_USERS; got 'memory:{address}'; give a whole number above 0")
    return MemoryStore(layout, int(address) if address else None)


class MemoryStore:
    """See `Store`. Reading one user copies nothing; arrays double when they are full. Keeps no histories.

    max_users: beyond it the least recently used are dropped.
    """

    def __init__(self, layout: Layout, max_users: int | None = None) -> None:
        self.layout = layout
        self.max_users = max_users
        self._slots: dict[str, int] = {}  # in the order of their use, where max_users is set
        self._free: list[int] = []
        self._records: list[Record] = []
        none = layout.zeros(0)
        self._user, self._window, self._state = none.user, none.window, none.state
        self._meta = "{}"

    def __len__(self) -> int:
        return len(self._slots)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} users, {self.bytes:,} bytes)"

    @property
    def bytes(self) -> int:
        """Bytes that the arrays take, room for growth included."""
        lists = sum(record.seen.nbytes + record.event_hashes.nbytes for record in self._records)
        return lists + self._user.nbytes + self._window.nbytes + sum(tensor.nbytes for tensor in self._state.values())

    def read(self, users: Sequence[str]) -> Rows:
        if self.max_users:
            self._touch(users)
        if len(users) == 1 and (slot := self._slots.get(users[0], -1)) >= 0:
            one = slice(slot, slot + 1)
            state = {name: tensor[one] for name, tensor in self._state.items()}
            return Rows([self._records[slot]], self._user[one], self._window[one], state)
        slots = [self._slots.get(user, -1) for user in users]
        places = np.array(slots, np.int64)
        if not (places >= 0).any():
            return self.layout.zeros(len(users))
        records = [NOBODY if slot < 0 else self._records[slot] for slot in slots]
        state = {name: np.take(tensor, places, 0, mode="wrap") for name, tensor in self._state.items()}
        rows = Rows(records, self._user[places], self._window[places], state)
        if places.min() < 0:
            for tensor in (rows.user, rows.window, *state.values()):
                tensor[places < 0] = 0
        return rows

    def write(self, users: Sequence[str], rows: Rows) -> None:
        if len(users) == 1 and (slot := self._slots.get(users[0], -1)) >= 0:
            if rows.records[0].version != self._records[slot].version + 1:
                raise ConflictError(users)
            self._put(slice(slot, slot + 1), rows)
            self._records[slot] = rows.records[0]
            return
        slots = [self._slots.get(user, -1) for user in users]
        before = [0 if slot < 0 else self._records[slot].version for slot in slots]
        kept = [n for n, record in enumerate(rows.records) if record.version == before[n] + 1]
        if len(kept) < len(users):
            won = [users[place] for place in kept]
            if won:
                self.write(won, rows.take(kept))
            raise ConflictError(sorted(set(users) - set(won)))
        if -1 in slots:
            self._reserve(slots.count(-1))
            slots = [self._free.pop() if slot < 0 else slot for slot in slots]
            self._slots.update(zip(users, slots, strict=True))
        self._put(np.array(slots), rows)
        for slot, record in zip(slots, rows.records, strict=True):
            self._records[slot] = record
        if self.max_users:
            self._touch(users)
            self.forget(list(self._slots)[: max(0, len(self._slots) - self.max_users)])

    def forget(self, users: Sequence[str]) -> int:
        slots = [slot for user in users if (slot := self._slots.pop(user, -1)) >= 0]
        for tensor in (self._user, self._window, *self._state.values()):
            tensor[slots] = 0
        for slot in slots:
            self._records[slot] = NOBODY
        self._free += slots
        return len(slots)

    def users(self) -> Iterator[str]:
        return iter(list(self._slots))

    def history(self, users: Sequence[str]) -> list[list[str] | None]:
        return [None] * len(users)

    def meta(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._meta)
        return found

    def set_meta(self, meta: Mapping[str, Any]) -> None:
        self._meta = json.dumps(dict(meta), allow_nan=False)

    def close(self) -> None:
        """Nothing outlives the process: there is nothing to do."""

    def _put(self, slots: slice | np.ndarray, rows: Rows) -> None:
        self._user[slots] = rows.user
        if self.layout.window:
            self._window[slots] = rows.window
        for name, tensor in self._state.items():
            tensor[slots] = rows.state[name]

    def _touch(self, users: Sequence[str]) -> None:
        """Makes the users the most recently used ones."""
        for user in users:
            if user in self._slots:
                self._slots[user] = self._slots.pop(user)

    def _reserve(self, new: int) -> None:
        """Free slots for so many new users: every array has grown, or, where memory ends, none."""
        if new <= len(self._free):
            return
        size = len(self._user)
        more = self.layout.zeros(max(FIRST_SLOTS, size, new))
        user, window = np.concatenate([self._user, more.user]), np.concatenate([self._window, more.window])
        state = {name: np.concatenate([tensor, more.state[name]]) for name, tensor in self._state.items()}
        self._records, self._free = self._records + more.records, [*range(len(user) - 1, size - 1, -1), *self._free]
        self._user, self._window, self._state = user, window, state
