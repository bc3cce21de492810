"""LMDB: the contracts, its folder, forks, a map that grows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deployrec.errors import ConfigError, DataError, DeployrecError, StoreError
from deployrec.runtime.durable import open_database
from deployrec.runtime.store_contract import LAYOUT, StoreContract, assert_equal, made
from deployrec.runtime.stores import Layout, Store, load_store
from tests.runtime.stores.durable import DurableContract


class TestLmdb(DurableContract):
    def address(self, tmp_path: Path) -> str:
        return f"lmdb:{tmp_path / 'users'}"


class TestHalf(StoreContract):
    def open(self, layout: Layout, tmp_path: Path) -> Store:
        return load_store(f"lmdb:{tmp_path / 'users'}?float16=1", layout)


def test_a_path_is_a_store_in_lmdb(tmp_path: Path) -> None:
    load_store(f"{tmp_path}/users", LAYOUT).write(["ann"], made(LAYOUT, [1]))
    assert_equal(load_store(f"lmdb:{tmp_path}/users", LAYOUT).read(["ann"]), made(LAYOUT, [1]))


def test_places_that_hold_no_store_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    places = {"notes": "no data.mdb in it", "file": "a file", "absent/users": "got none; make"}
    for place, got in places.items():
        with pytest.raises(DeployrecError, match=got):
            load_store(f"lmdb:{tmp_path / place}", LAYOUT)
    with pytest.raises(StoreError, match="no such folder"):
        open_database(f"lmdb:{tmp_path / 'new'}")
    with pytest.raises(ConfigError, match="got no path"):
        load_store("lmdb:", LAYOUT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "notes"]


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    store = load_store(f"lmdb:{tmp_path / 'users'}", LAYOUT)
    for start in range(0, 3000, 300):
        store.write([f"user {n}" for n in range(start, start + 300)], made(LAYOUT, range(300)))
    store.close()
    data = tmp_path / "users" / "data.mdb"
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2 // 4096 * 4096])
    with pytest.raises(StoreError, match="expected a sound store"):
        load_store(f"lmdb:{tmp_path / 'users'}", LAYOUT)


def test_a_store_of_another_format_is_refused_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployrec.runtime.stores.lmdb.environment.FORMAT", b"1")
    load_store(f"lmdb:{tmp_path / 'users'}", LAYOUT).close()
    monkeypatch.undo()
    with pytest.raises(StoreError, match="got format 1; open it with the deployrec that wrote it"):
        load_store(f"lmdb:{tmp_path / 'users'}", LAYOUT)


def test_the_map_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployrec.runtime.stores.lmdb.environment.FIRST_MAP", 2**17)
    store = load_store(f"lmdb:{tmp_path / 'users'}", LAYOUT)
    for start in range(0, 3000, 300):
        store.write([f"user {n}" for n in range(start, start + 300)], made(LAYOUT, range(300)))
    assert len(list(store.users())) == 3000
    assert_equal(store.read(["user 307"]), made(LAYOUT, [7]))


def test_a_forked_child_opens_the_folder_for_itself(tmp_path: Path) -> None:
    store = load_store(f"lmdb:{tmp_path / 'users'}", LAYOUT)
    store.write(["ann"], made(LAYOUT, [1]))
    child = os.fork()
    if not child:
        try:
            store.write(["ann"], made(LAYOUT, [2], version=2))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert_equal(store.read(["ann"]), made(LAYOUT, [2], version=2))


def test_an_id_that_no_key_can_hold_is_refused(tmp_path: Path) -> None:
    store = load_store(f"lmdb:{tmp_path / 'users'}", LAYOUT)
    store.write(["é" * 240], made(LAYOUT, [1]))
    for call in (lambda: store.read(["é" * 241]), lambda: store.write(["é" * 241], made(LAYOUT, [1]))):
        with pytest.raises(DataError, match="at most 480 bytes"):
            call()
