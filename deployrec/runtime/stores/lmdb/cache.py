"""Records of the users who were served last, as they are once all events are read: on disk they may lie behind."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from deployrec.runtime.stores.base import NO_SEQUENCES, Layout, Rows
from deployrec.runtime.stores.blocks import Blocks, Tail

AT_ONCE = 64
"""So many of the least recently used are looked out at a time."""


Held = tuple[bytes, int, int, int, int]
"""Which record of a user it is: the user's key, the life of the history, how many events of it the record has read
(all) and the one on disk has, the version. Plain values in a tuple, which the garbage collector stops looking at."""


def is_behind(held: Held) -> bool:
    """Whether the record on disk has not read all events."""
    return held[3] < held[2]


class Cache:
    """Up to about so many bytes of records. What is not sure to be whole, whatever was raised, is not there."""

    def __init__(self, layout: Layout, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self.held: dict[str, Held] = {}
        self.known_at: dict[str, int] = {}
        """of each user who is held, the number of a transaction as of which nobody else had written a newer record"""
        self._layout = layout
        self._slots: dict[str, int] = {}
        self._blocks = Blocks(layout, ordered=True)
        self._room = layout.zeros(0).fixed
        self._sizes = np.zeros(0, np.int64)
        self._begun: Sequence[str] = ()

    def rows(self, users: Sequence[str]) -> Rows:
        """The records of users who are held, in memory that the next call uses again."""
        blocks = self._blocks
        size, shift, mask, held = blocks.bytes, blocks.shift, blocks.mask, blocks.blocks
        slots = list(map(self._slots.__getitem__, users))
        blocks.touch(slots)
        if len(users) > len(self._room):
            self._room = np.empty(len(users), self._layout.dtype)
        gathered = self._room[: len(users)]
        fixed, tails, start = gathered.view(np.uint8).data, [], 0
        for slot in slots:
            block, place = held[slot >> shift], slot & mask
            fixed[start : start + size] = block.memory[place * size : (place + 1) * size]
            tails.append(block.tails[place])
            start += size
        _, _, seen, hashes, event_ids, items = zip(*tails, strict=True)
        marks = [dict(own) if own else NO_SEQUENCES for own in items]
        return Rows(gathered, list(seen), list(hashes), list(event_ids), marks)

    def begin(self, users: Sequence[str]) -> None:
        """Says that records of these users change: unless `end` follows, `mend` drops them."""
        self._begun = users

    def end(self) -> None:
        self._begun = ()

    def mend(self) -> None:
        """Drops what a call that was broken off may have left half done."""
        if self._begun:
            self.drop(self._begun)
            self._begun = ()

    def put(self, users: Sequence[str], rows: Rows, held: Sequence[Held], number: int) -> None:
        """Takes copies of the users' records, as of transaction `number`; where memory ends, none of them is held."""
        blocks, known = self._blocks, self._slots
        new = [user for user in users if user not in known]
        try:
            room = dict(zip(new, blocks.room(len(new)), strict=True)) if new else {}
        except MemoryError:
            return self.drop(users)
        slots = [known[user] if user in known else room[user] for user in users]
        fixed, versions = np.ascontiguousarray(rows.fixed), [one[4] for one in held]
        if fixed["version"].tolist() != versions:
            fixed = fixed.copy()
            fixed["version"] = versions
        marks = [() if own is NO_SEQUENCES else tuple(own.items()) for own in rows.sequences]
        lists = (rows.seen, rows.event_hashes, rows.last_event_id, marks)
        tails: list[Tail] = list(zip(versions, users, *lists, strict=True))
        blocks.put(slots, fixed.view(np.uint8).data, tails)
        known.update(room)
        sizes = np.fromiter(map(len, rows.seen), np.int64, len(slots))
        self._resize(slots, blocks.bytes + sizes + np.fromiter(map(len, rows.event_hashes), np.int64, len(slots)))
        self.held.update(zip(users, held, strict=True))
        self.known_at.update(dict.fromkeys(users, number))

    def drop(self, users: Sequence[str]) -> None:
        for user in users:
            self.held.pop(user, None)
            self.known_at.pop(user, None)
        slots = [slot for user in users if (slot := self._slots.pop(user, -1)) >= 0]
        self._blocks.free(slots)
        self._resize(slots, 0)

    def too_many(self, but: Collection[str]) -> list[str]:
        """The least recently used of those beyond the limit, but for these."""
        found: list[str] = []
        over = self.bytes - self.most_bytes
        if over <= 0:
            return found
        for slot in self._blocks.oldest(min(AT_ONCE, len(self._slots))):
            if (user := self._blocks.of(slot).tails[slot & self._blocks.mask][1]) not in but:
                found.append(user)
                over -= int(self._sizes[slot])
            if over <= 0:
                break
        return found

    def _resize(self, slots: Sequence[int], sizes: np.ndarray | int) -> None:
        if slots and (most := max(slots)) >= len(self._sizes):
            self._sizes = np.concatenate((self._sizes, np.zeros(most + 1, np.int64)))
        self.bytes += int(np.sum(sizes - self._sizes[slots]))
        self._sizes[slots] = sizes
