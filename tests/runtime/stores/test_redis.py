"""Redis: the contracts over a real server, and what a client says of one that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.redis_server import RedisServer, available
from deployrec.errors import ConfigError, StoreError
from deployrec.runtime.store_contract import LAYOUT, assert_equal, made
from deployrec.runtime.stores import load_store
from tests.runtime.stores.durable import DurableContract

needs_server = pytest.mark.skipif(not available(), reason="needs redis-server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.mark.slow
@needs_server
class TestRedis(DurableContract):
    @pytest.fixture(autouse=True)
    def _server(self, server: RedisServer) -> None:
        self.server = server

    def address(self, tmp_path: Path) -> str:
        return f"{self.server.address}?prefix={tmp_path}"


@pytest.mark.slow
@needs_server
def test_a_restart_is_waited_for(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        store = load_store(server.address, LAYOUT)
        store.write(["ann"], made(LAYOUT, [1]))
        server.kill()
        server.start()
        assert_equal(store.read(["ann"]), made(LAYOUT, [1]))
        store.write(["ann"], made(LAYOUT, [2], version=2))
        server.kill()
        impatient = f"{server.address}?timeout=0.2"
        with pytest.raises(StoreError, match="start it, or name another address"):
            load_store(impatient, LAYOUT)


@pytest.mark.slow
@needs_server
def test_a_wrong_password_is_said_and_never_shown(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--requirepass", "secret") as server:
        place = server.address.removeprefix("redis://")
        for user in ("", ":mistaken@"):
            with pytest.raises(StoreError, match="give a user and a password") as refused:
                load_store(f"redis://{user}{place}", LAYOUT)
            assert "mistaken" not in str(refused.value)
        store = load_store(f"redis://:secret@{place}", LAYOUT)
        store.write(["ann"], made(LAYOUT, [1]))
        assert "secret" not in repr(store)


@pytest.mark.parametrize("address", ["redis://h:port", "redis://?timeout=soon", "redis://?timeout=0"])
def test_wrong_addresses_are_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^expected .*; got .*; "):
        load_store(address, LAYOUT)
