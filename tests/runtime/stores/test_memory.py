"""The memory store works in place, grows by blocks, leaves nothing of a forgotten user, and is never torn."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from deployrec.runtime.store_contract import LAYOUT, assert_equal, made
from deployrec.runtime.stores import Rows
from deployrec.runtime.stores import blocks as blocks_module
from deployrec.runtime.stores.blocks import BLOCK_USERS, Block, Tail
from deployrec.runtime.stores.memory import MemoryStore

BLOCK = LAYOUT.record_bytes * BLOCK_USERS


def names(numbers: Sequence[int]) -> list[str]:
    return [f"user {number}" for number in numbers]


def test_one_user_is_read_in_place() -> None:
    store = MemoryStore(LAYOUT)
    store.write(["ann", "bob"], made(LAYOUT, [1, 2]))
    first, again = store.read(["bob"]), store.read(["bob"])
    for name, tensor in first.state.items():
        assert np.shares_memory(tensor, again.state[name])
    assert np.shares_memory(first.user, again.user)


def test_memory_grows_by_blocks_that_stay_where_they_are() -> None:
    store = MemoryStore(LAYOUT)
    store.write(["first"], made(LAYOUT, [0]))
    first = store.read(["first"])
    sizes = []
    for number in range(1, 3 * BLOCK_USERS + 1):
        store.write([str(number)], made(LAYOUT, [0]))
        sizes.append(store.bytes)
    assert sizes == [BLOCK * (1 + number // BLOCK_USERS) for number in range(1, 3 * BLOCK_USERS + 1)]
    assert np.shares_memory(first.fixed, store.read(["first"]).fixed)


def test_a_forgotten_users_place_is_emptied_and_used_again() -> None:
    store = MemoryStore(LAYOUT)
    store.write(["ann", "bob", "cat"], made(LAYOUT, [1, 2, 3]))
    place = store.read(["bob"]).fixed
    store.forget(["bob", "bob", "nobody"])
    assert not place.view(np.uint8).any()
    store.write(["dan"], made(LAYOUT, [2]))
    assert np.shares_memory(place, store.read(["dan"]).fixed)
    assert_equal(store.read(["ann", "dan", "cat"]), made(LAYOUT, [1, 2, 3]))


def test_a_block_is_freed_with_its_last_user_and_no_sooner() -> None:
    store = MemoryStore(LAYOUT)
    users = names(range(4 * BLOCK_USERS))
    store.write(users, made(LAYOUT, range(len(users))))
    assert store.bytes == 4 * BLOCK
    second = users[BLOCK_USERS : 2 * BLOCK_USERS]
    store.forget(second[1:])
    assert store.bytes == 4 * BLOCK
    store.forget(second[:1])
    assert store.bytes == 3 * BLOCK
    store.forget(users[: BLOCK_USERS // 2])
    store.write(second, made(LAYOUT, range(BLOCK_USERS)))
    assert store.bytes == 4 * BLOCK
    assert_equal(store.read(second), made(LAYOUT, range(BLOCK_USERS)))
    assert_equal(store.read(users[-5:]), made(LAYOUT, range(len(users) - 5, len(users))))
    store.forget(list(store.users()))
    assert (store.bytes, len(store)) == (0, 0)


def test_any_program_of_writes_and_forgets_keeps_what_a_dictionary_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "BLOCK_USERS", 4)
    choose = random.Random(0)
    store = MemoryStore(LAYOUT)
    kept: dict[str, Rows] = {}
    for _ in range(2000):
        numbers = choose.sample(range(40), choose.randint(1, 9))
        users = names(numbers)
        if choose.random() < 0.4:
            assert store.forget(users) == len(kept.keys() & set(users))
            kept = {user: row for user, row in kept.items() if user not in users}
        else:
            rows = made(LAYOUT, [choose.randrange(50) for _ in users])
            rows.version[...] = [1 + (kept[user].version[0] if user in kept else 0) for user in users]
            store.write(users, rows)
            kept.update({user: rows.take([place]) for place, user in enumerate(users)})
        found = choose.sample(range(40), 5)
        for user, place in zip(names(found), range(5), strict=True):
            assert_equal(store.read(names(found)).take([place]), kept.get(user, LAYOUT.zeros(1)))
        assert sorted(store.users()) == sorted(kept)
        assert store.bytes <= 4 * LAYOUT.record_bytes * len(kept)


@pytest.mark.parametrize("fails_at", [0, 2])
def test_where_memory_ends_nothing_has_changed(monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    store = MemoryStore(LAYOUT)
    old = names(range(BLOCK_USERS - 1))
    store.write(old, made(LAYOUT, range(len(old))))
    made_blocks = 0

    def block(dtype: np.dtype, users: int) -> Block:
        nonlocal made_blocks
        made_blocks += 1
        if made_blocks > fails_at:
            raise MemoryError
        return Block(dtype, users)

    new = [f"new {number}" for number in range(3 * BLOCK_USERS)]
    with monkeypatch.context() as patch:
        patch.setattr(blocks_module, "Block", block)
        with pytest.raises(MemoryError):
            store.write([*old, *new], _after(old, new))
        assert (store.bytes, len(store)) == (BLOCK, len(old))
        store.write(["one more"], made(LAYOUT, [7]))
    assert_equal(store.read(old), made(LAYOUT, range(len(old))))
    store.write([*old, *new], _after(old, new))
    assert_equal(store.read(new), made(LAYOUT, range(len(old), len(old) + len(new))))


def _after(old: Sequence[str], new: Sequence[str]) -> Rows:
    """Second records of the old users and first ones of the new."""
    rows = made(LAYOUT, range(len(old) + len(new)))
    rows.version[: len(old)] = 2
    return rows


class BrokenOffError(Exception):
    """What a signal handler raises."""


class Breaking(dict):
    """Refuses an entry at a point."""

    def __setitem__(self, user: str, slot: int) -> None:
        if user == "new 5":
            raise BrokenOffError
        super().__setitem__(user, slot)


def test_new_users_that_cannot_all_be_entered_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(LAYOUT)
    store.write(["ann"], made(LAYOUT, [1]))
    new = [f"new {number}" for number in range(10)]
    with monkeypatch.context() as patch:
        patch.setattr(store, "_slots", [Breaking(slots) for slots in store._slots])
        with pytest.raises(BrokenOffError):
            store.write(new, made(LAYOUT, range(10)))
        assert list(store.users()) == ["ann"]
        assert_equal(store.read(["ann", *new]).take(range(1, 11)), LAYOUT.zeros(10))


def test_a_write_broken_off_midway_is_whole_for_whoever_reads_next(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(LAYOUT)
    users = names(range(20))
    store.write(users[:10], made(LAYOUT, range(10)))
    put, calls = store._blocks.put, 0

    def interrupted(slots: Sequence[int], fixed: memoryview, tails: Sequence[Tail]) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            put(slots[:7], fixed, tails[:7])
            raise BrokenOffError
        put(slots, fixed, tails)

    monkeypatch.setattr(store._blocks, "put", interrupted)
    with pytest.raises(BrokenOffError):
        store.write(users, _after(users[:10], users[10:]))
    with pytest.raises(BrokenOffError):  # and broken off once more
        store.read(users)
    assert_equal(store.read(users), _after(users[:10], users[10:]))
    assert calls == 3
