"""Blocks of memory for users' records: never copied, allocated all or none, freed when their last user goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deployrec.runtime.stores.base import Layout

BLOCK_USERS = 256
BLOCK_BYTES = 2**20
"""A block holds so many users, or, of large records, a power of two of them in about so many bytes."""
AT_A_TIME = 64
"""Of so many users one is looked out at a time when the least recently used are asked for."""
UNUSED = np.iinfo(np.int64).max

Tail = tuple[int, str, bytes, bytes, str | None, Mapping[str, int]]
"""What is kept of a user beside the fixed part: version, user, and the lists of `Rows`. A plain tuple of plain values:
the garbage collector stops looking at it."""


class Block:
    """Places for some users: fixed [n] of `layout.dtype`, the same bytes as `memory`, and what a `Tail` holds."""

    __slots__ = ("fixed", "memory", "tails", "taken", "used")

    def __init__(self, dtype: np.dtype, users: int) -> None:
        raw = np.zeros(users * dtype.itemsize, np.uint8)
        self.fixed = raw.view(dtype)
        self.memory = raw.data
        # An array of objects, unlike a list, is nothing that the garbage collector walks through.
        self.tails = np.empty(users, object)
        self.taken = bytearray(users)
        self.used = np.full(users, UNUSED)


class Blocks:
    """A slot is a block's number and a place in it. What changes a slot may be done twice: it is then done once."""

    def __init__(self, layout: Layout, ordered: bool = False) -> None:
        self.ordered = ordered  # by use, for `oldest`
        self.dtype = layout.dtype
        self.bytes = layout.bytes
        self.shift = min(BLOCK_USERS, max(1, BLOCK_BYTES // self.bytes)).bit_length() - 1
        self.mask = (1 << self.shift) - 1
        self._nothing = bytes(self.bytes)
        self._blocks: list[Block | None] = []
        self._roomy: dict[int, None] = {}  # numbers of blocks with room, the one to fill first last
        self._freed: list[int] = []  # numbers without a block
        self._tick = 0
        self._oldest: list[tuple[int, int]] = []  # tick and slot, the least recently used last

    def __len__(self) -> int:
        return sum(block is not None for block in self._blocks)

    def of(self, slot: int) -> Block:
        block = self._blocks[slot >> self.shift]
        assert block is not None
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
        size, shift, mask, blocks = self.bytes, self.shift, self.mask, self._blocks
        start = 0
        for slot, tail in zip(slots, tails, strict=True):
            block, place = blocks[slot >> shift], slot & mask
            assert block is not None
            block.memory[place * size : (place + 1) * size] = fixed[start : start + size]
            block.tails[place] = tail
            block.taken[place] = 1
            start += size
        if self.ordered:
            self.touch(slots)

    def free(self, slots: Sequence[int]) -> None:
        """Empties slots, and frees blocks of which none is in use."""
        size = self.bytes
        for slot in slots:
            number, place = slot >> self.shift, slot & self.mask
            block = self._blocks[number]
            if block is None:
                continue
            block.memory[place * size : (place + 1) * size] = self._nothing
            block.tails[place], block.taken[place], block.used[place] = None, 0, UNUSED
            if any(block.taken):
                self._roomy[number] = None
            else:
                self._roomy.pop(number, None)
                self._blocks[number] = None
                self._freed.append(number)

    def touch(self, slots: Sequence[int]) -> None:
        """Makes the slots the most recently used ones, the last one most of all; passes over -1."""
        for slot in slots:
            if slot >= 0:
                self._tick += 1
                self.of(slot).used[slot & self.mask] = self._tick

    def oldest(self, number: int) -> list[int]:
        """So many slots, the least recently used first."""
        found: list[int] = []
        while len(found) < number:
            if not self._oldest:
                self._look_out(number - len(found), set(found))
            tick, slot = self._oldest.pop()
            block = self._blocks[slot >> self.shift]
            if block is not None and block.used[slot & self.mask] == tick:
                found.append(slot)
        return found

    def _look_out(self, least: int, found: set[int]) -> None:
        """Notes the least recently used slots; whichever is used meanwhile is passed over later."""
        present = [(number, block.used) for number, block in enumerate(self._blocks) if block is not None]
        ticks = np.concatenate([used for _, used in present])
        used = int(np.count_nonzero(ticks != UNUSED))
        number = min(used, max(least + len(found), used // AT_A_TIME))
        first = np.argpartition(ticks, number - 1)[:number]
        first = first[np.argsort(-ticks[first])]
        bases = np.array([block_number << self.shift for block_number, _ in present])
        slots = bases[first >> self.shift] + (first & self.mask)
        self._oldest = [
            (tick, slot) for tick, slot in zip(ticks[first].tolist(), slots.tolist(), strict=True) if slot not in found
        ]

    def _add(self, block: Block) -> int:
        if self._freed:
            number = self._freed.pop()
            self._blocks[number] = block
        else:
            number = len(self._blocks)
            self._blocks.append(block)
        self._roomy[number] = None
        return number
