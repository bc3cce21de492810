"""Blocks of memory for users' records: never copied, allocated all or none, freed when their last user goes."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from deployrec.runtime.stores.base import Layout

BLOCK_USERS = 256
BLOCK_BYTES = 2**20
"""A block holds so many users, or, of large records, a power of two of them in about so many bytes."""
AT_A_TIME = 64
"""Of so many users one is looked out at a time when the least recently used are asked for."""
UNUSED = np.iinfo(np.int64).max

Tail = tuple[int, str, bytes, bytes, str | None, tuple[tuple[str, int], ...]]
"""What is kept of a user beside the fixed part: version, user, and the lists of `Rows`, of the sequences their items.
Tuples of plain values, which the garbage collector stops looking at: a million dictionaries would keep it busy."""


class Block:
    """Places for some users: fixed [n] of `layout.dtype`, the same bytes as `memory`, and what a `Tail` holds."""

    __slots__ = ("fixed", "memory", "tails", "taken")

    def __init__(self, dtype: np.dtype, users: int) -> None:
        self.memory = _pages(users * dtype.itemsize)
        self.fixed = np.frombuffer(self.memory, dtype)
        # An array of objects, unlike a list, is nothing that the garbage collector walks through.
        self.tails = np.empty(users, object)
        self.taken = bytearray(users)


class Blocks:
    """A slot is a block's number and a place in it. What changes a slot may be done twice: it is then done once."""

    def __init__(self, layout: Layout, ordered: bool = False) -> None:
        self.ordered = ordered  # by use, for `oldest`
        self.dtype = layout.dtype
        self.bytes = layout.record_bytes
        self.shift = min(BLOCK_USERS, max(1, BLOCK_BYTES // self.bytes)).bit_length() - 1
        self.mask = (1 << self.shift) - 1
        self._nothing = bytes(self.bytes)
        self.blocks: list[Any] = []  # of Block, None where one was freed
        self._roomy: dict[int, None] = {}  # numbers of blocks with room, the one to fill first last
        self._freed: list[int] = []  # numbers without a block
        self._tick = 0
        self._used = np.full(0, UNUSED)  # each slot's last tick, where `ordered`
        self._oldest: Iterator[tuple[np.int64, np.int64]] = iter(())  # slots and ticks, the least recently used first

    def __len__(self) -> int:
        return sum(block is not None for block in self.blocks)

    def of(self, slot: int) -> Block:
        block: Block = self.blocks[slot >> self.shift]
        return block

    def room(self, number: int) -> list[int]:
        """So many free slots, the same ones until they are put to use; where memory ends, nothing has changed."""
        found: list[int] = []
        full = []
        for block_number in reversed(self._roomy):
            taken, base = self.of(block_number << self.shift).taken, block_number << self.shift
            at = taken.find(0)
            if at < 0:
                full.append(block_number)
            while at >= 0 and len(found) < number:
                found.append(base + at)
                at = taken.find(0, at + 1)
            if len(found) == number:
                break
        for block_number in full:
            del self._roomy[block_number]
        if len(found) < number:
            users = 1 << self.shift
            made = [Block(self.dtype, users) for _ in range(-((len(found) - number) // users))]
            for block in made:
                block_number = self._add(block)
                found += range(block_number << self.shift, (block_number + 1) << self.shift)
        return found[:number]

    def put(self, slots: Sequence[int], fixed: memoryview, tails: Sequence[Tail]) -> None:
        """Fills slots with records, whose fixed parts lie end to end."""
        size, shift, mask, blocks = self.bytes, self.shift, self.mask, self.blocks
        start = 0
        for slot, tail in zip(slots, tails, strict=True):
            block, place = blocks[slot >> shift], slot & mask
            block.memory[place * size : (place + 1) * size] = fixed[start : start + size]
            block.tails[place] = tail
            block.taken[place] = 1
            start += size
        if self.ordered:
            self.touch(slots)

    def put_one(self, slot: int, fixed: bytes, tail: Tail) -> None:
        """Fills one slot, which was in use, with a record."""
        block, place = self.blocks[slot >> self.shift], slot & self.mask
        block.memory[place * self.bytes : (place + 1) * self.bytes] = fixed
        block.tails[place] = tail
        if self.ordered:
            self.touch((slot,))

    def free(self, slots: Sequence[int]) -> None:
        """Empties slots, and frees blocks of which none is in use."""
        size = self.bytes
        for slot in slots:
            number, place = slot >> self.shift, slot & self.mask
            block = self.blocks[number]
            if block is None:
                continue
            block.memory[place * size : (place + 1) * size] = self._nothing
            block.tails[place], block.taken[place] = None, 0
            if self.ordered:
                self._used[slot] = UNUSED
            if any(block.taken):
                self._roomy[number] = None
            else:
                self._roomy.pop(number, None)
                self.blocks[number] = None
                self._freed.append(number)

    def touch(self, slots: Sequence[int]) -> None:
        """Makes the slots the most recently used ones, the last one most of all; passes over -1."""
        used = [slot for slot in slots if slot >= 0]
        self._used[used] = range(self._tick + 1, self._tick + 1 + len(used))
        self._tick += len(used)

    def oldest(self, number: int) -> list[int]:
        """So many slots, the least recently used first."""
        found: list[int] = []
        while len(found) < number:
            slot, tick = next(self._oldest, (-1, 0))
            if slot < 0:
                self._look_out(number, found)
            elif self._used[slot] == tick:
                found.append(int(slot))
        return found

    def _look_out(self, number: int, found: list[int]) -> None:
        """Notes the least recently used slots but those found; whichever is used meanwhile is passed over later."""
        # Every 64th slot tells about where the oldest end: a sort of all would take its time.
        sample = np.sort(self._used[::AT_A_TIME])
        old = self._used <= min(sample[len(sample) // AT_A_TIME], UNUSED - 1)
        if np.count_nonzero(old) < number:
            old = self._used <= np.sort(self._used)[number - 1]
        old[found] = False
        slots = np.flatnonzero(old)
        slots = slots[np.argsort(self._used[slots])]
        # Walked through as arrays, for lists of so many would keep the garbage collector busy.
        self._oldest = zip(slots, self._used[slots], strict=True)

    def _add(self, block: Block) -> int:
        if self._freed:
            number = self._freed.pop()
            self.blocks[number] = block
        else:
            number = len(self.blocks)
            self.blocks.append(block)
        if self.ordered and (number + 1) << self.shift > len(self._used):
            self._used = np.concatenate([self._used, np.full(max(len(self._used), 1 << self.shift), UNUSED)])
        self._roomy[number] = None
        return number


def _pages(size: int) -> memoryview:
    """Zeros of the operating system's, which get back to it with their last reference whatever lies around them."""
    private = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
    try:
        return memoryview(mmap.mmap(-1, size, **private))
    except OSError as error:
        raise MemoryError(f"expected {size:,} bytes for users' records; got {error.strerror}") from None
