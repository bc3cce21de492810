"""The store of one process: users' records in blocks of memory, read in place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from deployrec.errors import ConfigError
from deployrec.runtime.stores.base import NO_SEQUENCES, ConflictError, Layout, Rows
from deployrec.runtime.stores.blocks import Blocks, Tail

GATHERED_AT_ONCE = 1024
"""Up to so many users are gathered in memory that is kept."""
NO_TAIL: Tail = (0, "", b"", b"", None, ())
SHARDS = 64
"""Dictionaries of users: one that grows is copied, and for a million users that takes its time."""


def load(layout: Layout, address: str = "") -> MemoryStore:
    """Opens "memory", or "memory:N", which keeps the N most recently used users and drops the others."""
    if address and not (address.isascii() and address.isdigit() and int(address)):
        raise ConfigError(f"expected memory or memory:MAX_USERS; got 'memory:{address}'; give a whole number above 0")
    return MemoryStore(layout, int(address) if address else None)


class MemoryStore:
    """See `Store`. Reading one user copies nothing; keeps no histories.

    A write is applied whole or not at all, whatever raises within it, a signal handler or the end of memory: what is
    begun is noted first, and the next call ends it. max_users: beyond it the least recently used are dropped.
    """

    def __init__(self, layout: Layout, max_users: int | None = None) -> None:
        self.layout = layout
        self.max_users = max_users
        self._nobody = memoryview(layout.zeros(1).fixed.tobytes())
        self._slots: list[dict[str, int]] = [{} for _ in range(SHARDS)]
        self._blocks = Blocks(layout, ordered=max_users is not None)
        self._room = layout.zeros(0).fixed
        self._unfinished: Callable[[], None] | None = None
        self._meta = "{}"

    def __len__(self) -> int:
        self._finish()
        return sum(map(len, self._slots))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} users, {self.bytes:,} bytes)"

    @property
    def bytes(self) -> int:
        """Bytes that the blocks take, room for further users included; what users have seen comes on top."""
        return len(self._blocks) * (self.layout.record_bytes << self._blocks.shift)

    def read(self, users: Sequence[str]) -> Rows:
        if self._unfinished is not None:
            self._finish()
        blocks = self._blocks
        mask, size = blocks.mask, blocks.bytes
        if len(users) == 1 and (slot := self._slot_of(users[0])) >= 0:
            if self.max_users:
                blocks.touch((slot,))
            block, place = blocks.blocks[slot >> blocks.shift], slot & mask
            _, _, seen, hashes, event_id, sequences = block.tails[place]
            marks = dict(sequences) if sequences else NO_SEQUENCES
            return Rows(block.fixed[place : place + 1], [seen], [hashes], [event_id], [marks])
        slots = self._slots_of(users)
        if self.max_users:
            blocks.touch(slots)
        gathered = self._gathered(len(slots))
        fixed, shift, held = gathered.view(np.uint8).data, blocks.shift, blocks.blocks
        tails, start = [], 0
        for slot in slots:
            if slot >= 0:
                block, place = held[slot >> shift], slot & mask
                fixed[start : start + size] = block.memory[place * size : (place + 1) * size]
                tails.append(block.tails[place])
            else:
                fixed[start : start + size] = self._nobody
                tails.append(NO_TAIL)
            start += size
        _, _, seen, hashes, event_ids, items = zip(*tails, strict=True) if tails else [()] * 6
        sequences = [dict(own) if own else NO_SEQUENCES for own in items]
        return Rows(gathered, list(seen), list(hashes), list(event_ids), sequences)

    def write(self, users: Sequence[str], rows: Rows) -> None:
        if self._unfinished is not None:
            self._finish()
        blocks = self._blocks
        if len(users) == 1 and (slot := self._slot_of(users[0])) >= 0:
            record = rows.fixed.tobytes()
            version = int.from_bytes(record[:8], "little")  # what a record begins with
            if version != blocks.blocks[slot >> blocks.shift].tails[slot & blocks.mask][0] + 1:
                raise ConflictError(users)
            marks = () if rows.sequences[0] is NO_SEQUENCES else tuple(rows.sequences[0].items())
            tail = (version, users[0], rows.seen[0], rows.event_hashes[0], rows.last_event_id[0], marks)
            self._unfinished = partial(blocks.put_one, slot, record, tail)
            self._finish()
            return
        slots = self._slots_of(users)
        versions: list[int] = rows.version.tolist()
        shift, mask = blocks.shift, blocks.mask
        held = [0 if slot < 0 else blocks.blocks[slot >> shift].tails[slot & mask][0] for slot in slots]
        if [version - 1 for version in versions] != held:
            kept = [n for n, version in enumerate(versions) if version == held[n] + 1]
            won = [users[place] for place in kept]
            if won:
                self.write(won, rows.take(kept))
            raise ConflictError(sorted(set(users) - set(won)))
        fixed = np.ascontiguousarray(rows.fixed).view(np.uint8).data
        items = [() if marks is NO_SEQUENCES else tuple(marks.items()) for marks in rows.sequences]
        lists = (rows.seen, rows.event_hashes, rows.last_event_id, items)
        tails: list[Tail] = list(zip(versions, users, *lists, strict=True))
        if -1 in slots:
            new = [number for number, slot in enumerate(slots) if slot < 0]
            for number, slot in zip(new, blocks.room(len(new)), strict=True):
                slots[number] = slot
            self._enter([(users[number], slots[number]) for number in new])
        self._unfinished = partial(blocks.put, slots, fixed, tails)
        self._finish()
        if self.max_users:
            self._drop(blocks.oldest(max(0, len(self) - self.max_users)))

    def forget(self, users: Sequence[str]) -> int:
        self._finish()
        slots = {slot for slot in self._slots_of(users) if slot >= 0}
        self._drop(list(slots))
        return len(slots)

    def users(self) -> Iterator[str]:
        self._finish()
        for slots in self._slots:
            yield from list(slots)

    def history(self, users: Sequence[str]) -> list[list[str] | None]:
        return [None] * len(users)

    def meta(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._meta)
        return found

    def set_meta(self, meta: Mapping[str, Any]) -> None:
        self._meta = json.dumps(dict(meta), allow_nan=False)

    def close(self) -> None:
        """Nothing outlives the process: there is nothing to do."""

    def _gathered(self, users: int) -> np.ndarray:
        """Memory for what a read of so many users gathers: taking new pages each time would cost as much again."""
        if users > GATHERED_AT_ONCE:
            return np.empty(users, self.layout.dtype)
        if users > len(self._room):
            self._room = np.empty(users, self.layout.dtype)
        return self._room[:users]

    def _slot_of(self, user: str) -> int:
        return self._slots[hash(user) % SHARDS].get(user, -1)

    def _slots_of(self, users: Sequence[str]) -> list[int]:
        """Where each user's record lies, -1 for a user who is not there."""
        slots = self._slots
        return [slots[hash(user) % SHARDS].get(user, -1) for user in users]

    def _finish(self) -> None:
        """Ends what was begun, if need be by a call that was broken off: to do it twice is to do it once."""
        if self._unfinished is not None:
            self._unfinished()
            self._unfinished = None

    def _enter(self, new: Sequence[tuple[str, int]]) -> None:
        """Notes where new users' records will lie: of all or, where memory ends, of none."""
        self._unfinished = partial(self._leave, [user for user, _ in new])
        try:
            for user, slot in new:
                self._slots[hash(user) % SHARDS][user] = slot
        except BaseException:
            self._finish()
            raise

    def _leave(self, users: Sequence[str]) -> None:
        for user in users:
            self._slots[hash(user) % SHARDS].pop(user, None)

    def _drop(self, slots: Sequence[int]) -> None:
        if slots:
            users = [self._blocks.of(slot).tails[slot & self._blocks.mask][1] for slot in slots]
            self._unfinished = partial(self._dropped, users, slots)
            self._finish()

    def _dropped(self, users: Sequence[str], slots: Sequence[int]) -> None:
        self._leave(users)
        self._blocks.free(slots)
