"""Our stores keep the contract, through their names as users open them; a store of another package is found by one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deployrec.errors import StaleStateError
from deployrec.runtime import Bundle, Outcome, Recommender
from deployrec.runtime.store_contract import LAYOUT, WINDOWED, StoreContract, assert_equal, made
from deployrec.runtime.stores import Layout, Rows, Store, load_store, stores
from deployrec.runtime.stores.memory import MemoryStore


class TestMemory(StoreContract):
    def open(self, layout: Layout, tmp_path: Path) -> Store:
        return load_store("memory", layout)


class TestBoundedMemory(StoreContract):
    def open(self, layout: Layout, tmp_path: Path) -> Store:
        return load_store("memory:300", layout)


class TestFile(StoreContract):
    def open(self, layout: Layout, tmp_path: Path) -> Store:
        return load_store(f"file:{tmp_path / 'users.npz'}", layout)

    def test_it_is_durable(self, tmp_path: Path) -> None:
        store = self.open(LAYOUT, tmp_path)
        store.write(["ann"], made(LAYOUT, [4]))
        assert not (tmp_path / "users.npz").exists()
        store.close()
        assert_equal(self.open(LAYOUT, tmp_path).read(["ann"]), made(LAYOUT, [4]))
        with pytest.raises(StaleStateError, match="expected states of id bbbb"):
            self.open(WINDOWED, tmp_path)


class TestRecords(StoreContract):
    def open(self, layout: Layout, tmp_path: Path) -> Store:
        return load_store(f"records:{tmp_path / 'users.states'}", layout)


class ListedStore(MemoryStore):
    """A store of another package, which keeps histories."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.items: dict[str, list[str]] = {}

    def write(self, users: Sequence[str], rows: Rows) -> None:
        super().write(users, rows)
        for user, read in zip(users, rows.read, strict=False):
            self.items.setdefault(user, []).extend(event.item for event in read)

    def history(self, users: Sequence[str]) -> list[list[str] | None]:
        return [self.items.get(user, []) for user in users]

    def forget(self, users: Sequence[str]) -> int:
        for user in users:
            self.items.pop(user, None)
        return super().forget(users)


def load(layout: Layout, address: str) -> Store:
    assert address == "somewhere:else"
    return ListedStore(layout)


class TestOfAnotherPackage(StoreContract):
    def open(self, layout: Layout, tmp_path: Path) -> Store:
        return ListedStore(layout)


def test_a_store_of_another_package_is_found_by_its_entry_point(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "strangers-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[deployrec.stores]\nlisted = strangers_store\n")
    (tmp_path / "strangers_store.py").write_text(Path(__file__).read_text())
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert {"memory", "file", "listed"} <= set(stores())
    with Recommender.load(twin_bundle().path, store="listed:somewhere:else") as recommender:
        assert recommender.observe_many([("ann", "i1"), ("bob", "i2"), ("ann", "i3")]) == [Outcome.APPLIED] * 3
        recommender.observe("bob", "i5")
        assert recommender.store.history(["ann", "bob"]) == [["i1", "i3"], ["i2", "i5"]]


def test_the_least_recently_used_go_first() -> None:
    store = load_store("memory:3", LAYOUT)
    for number, user in enumerate(["ann", "bob", "cat"]):
        store.write([user], made(LAYOUT, [number]))
    store.read(["ann"])
    store.write(["cat"], made(LAYOUT, [5], version=2))
    store.write(["dan"], made(LAYOUT, [7]))
    assert sorted(store.users()) == ["ann", "cat", "dan"]
    assert_equal(store.read(["ann", "cat", "dan"]).take([0, 2]), made(LAYOUT, [0, 7]))
    store.write(["e", "f", "ann", "g"], _with_versions(made(LAYOUT, [1, 2, 3, 4]), [1, 1, 2, 1]))
    assert sorted(store.users()) == ["ann", "f", "g"]
    assert_equal(store.read(["f", "g"]), made(LAYOUT, [2, 4]))


def _with_versions(rows: Rows, versions: Sequence[int]) -> Rows:
    rows.version[...] = versions
    return rows
