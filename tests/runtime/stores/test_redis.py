"""Redis: the contract over a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.redis_server import RedisServer, available
from deployrec.runtime.store_contract import StoreContract
from deployrec.runtime.stores import Layout, Store, load_store

pytestmark = pytest.mark.skipif(not available(), reason="needs redis-server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


class TestRedis(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, server: RedisServer) -> None:
        self.server = server

    def open(self, layout: Layout, tmp_path: Path) -> Store:
        return load_store(f"{self.server.address}?prefix={tmp_path}", layout)
