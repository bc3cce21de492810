"""The memory store works in place, grows by doubling and leaves nothing of a forgotten user."""

from __future__ import annotations

import numpy as np
import pytest

from deployrec.runtime.store_contract import LAYOUT, assert_equal, made
from deployrec.runtime.stores.memory import MemoryStore


def test_one_user_is_read_in_place() -> None:
    store = MemoryStore(LAYOUT)
    store.write(["ann", "bob"], made(LAYOUT, [1, 2]))
    first, again = store.read(["bob"]), store.read(["bob"])
    for name, tensor in first.state.items():
        assert np.shares_memory(tensor, again.state[name])
    assert np.shares_memory(first.user, again.user)


def test_arrays_double() -> None:
    store = MemoryStore(LAYOUT)
    sizes = set()
    for number in range(1000):
        store.write([str(number)], made(LAYOUT, [0]))
        sizes.add(store.bytes - sum(record.seen.nbytes for record in store._records))
    assert sizes == {LAYOUT.bytes * number for number in (64, 128, 256, 512, 1024)}


def test_a_forgotten_users_place_is_emptied_and_used_again() -> None:
    store = MemoryStore(LAYOUT)
    store.write(["ann", "bob", "cat"], made(LAYOUT, [1, 2, 3]))
    size = store.bytes
    store.forget(["bob"])
    for tensor in (store._user, *store._state.values()):
        assert np.count_nonzero(tensor.any(axis=tuple(range(1, tensor.ndim)))) == 2
    store.write(["dan"], made(LAYOUT, [2]))
    assert store.bytes == size
    assert_equal(store.read(["ann", "dan", "cat"]), made(LAYOUT, [1, 2, 3]))


def test_where_memory_ends_everybody_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(LAYOUT)
    store.write([str(number) for number in range(64)], made(LAYOUT, range(64)))
    calls, concatenate = 0, np.concatenate

    def full(arrays: list[np.ndarray]) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise MemoryError
        return concatenate(arrays)

    with monkeypatch.context() as patch:
        patch.setattr(np, "concatenate", full)
        with pytest.raises(MemoryError):
            store.write(["new"], made(LAYOUT, [7]))
    assert len(store) == 64
    assert_equal(store.read([str(number) for number in range(64)]), made(LAYOUT, range(64)))
    store.write(["new"], made(LAYOUT, [7]))
    assert_equal(store.read(["new"]), made(LAYOUT, [7]))
