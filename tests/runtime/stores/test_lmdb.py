"""LMDB: the contract, several processes, a map that grows, folders that are no store."""

from __future__ import annotations

from pathlib import Path

from deployrec.runtime.store_contract import StoreContract
from deployrec.runtime.stores import Layout, Store, load_store


class TestLmdb(StoreContract):
    def open(self, layout: Layout, tmp_path: Path) -> Store:
        return load_store(f"lmdb:{tmp_path / 'users'}", layout)


class TestHalf(StoreContract):
    def open(self, layout: Layout, tmp_path: Path) -> Store:
        return load_store(f"lmdb:{tmp_path / 'users'}?float16=1", layout)
