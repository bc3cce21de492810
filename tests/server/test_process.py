"""Servers in processes of their own: what they acknowledged outlives them, however they end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import hostile, server_kills
from benchmarks.callers import Callers, Server, connected
from benchmarks.redis_server import RedisServer, available
from deployrec.bundle import Bundle
from deployrec.cli.main import run
from deployrec.runtime import Recommender

ITEMS = [f"i{row}" for row in range(1, 31)]


@pytest.fixture
def address(kind: str, tmp_path: Path) -> Iterator[str]:
    """Of a store that processes share."""
    if kind == "lmdb":
        yield f"lmdb:{tmp_path / 'users'}"
        return
    if not available():
        pytest.skip("needs redis-server")
    (tmp_path / "redis").mkdir()
    with RedisServer(tmp_path / "redis") as server:
        yield server.address


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lmdb", "redis"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_acknowledged_is_lost(number: signal.Signals, kind: str, bundle: Bundle, tmp_path: Path) -> None:
    if kind == "redis" and not available():
        pytest.skip("needs redis-server")
    counts = server_kills.trial(bundle.path, tmp_path, kind, number, rounds=3, connections=16, seed=3)
    assert counts.acknowledged > 50
    assert counts.unanswered > 0
    assert counts.sound, counts


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lmdb", "redis"])
def test_processes_share_a_store_and_their_counts(bundle: Bundle, address: str) -> None:
    with Server(bundle.path, "--store", address, "--workers", "2") as server:
        time.sleep(1)  # the second process gets ready by itself
        with Callers(server.port, 8, ITEMS) as callers:
            time.sleep(2)
        assert set(callers.statuses) == {200}
        for user, answers in callers.acknowledged.items():
            assert server.ask("GET", f"/v1/users/{user}")[1]["num_events"] == len(answers)
        with connected(server.port) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        applied = [line for line in lines if line.startswith("deployrec_events_total") and '"applied"' in line]
        assert sum(float(line.rpartition(" ")[2]) for line in applied) == len(callers.statuses)
        new = [line for line in lines if line.startswith("deployrec_new_users_total")]
        assert sum(float(line.rpartition(" ")[2]) for line in new) == 8
        assert not any(line.startswith("deployrec_users{") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["redis"])
def test_a_user_over_redis_from_the_first_event_to_the_last(bundle: Bundle, address: str) -> None:
    library = Recommender.load(bundle.path)
    with Server(bundle.path, "--store", address) as server:
        for number, item in enumerate(ITEMS[:4]):
            event = {"user": "a", "item": item, "event_id": number, "recommend": 3}
            answer = server.ask("POST", "/v1/events", event)[1]
            best = library.observe_and_recommend("a", item, k=3)
            assert [entry["item_id"] for entry in answer["recommendations"]["a"]] == [entry.item_id for entry in best]
            assert server.ask("POST", "/v1/events", event)[1]["outcomes"] == ["duplicate"]
        assert server.ask("GET", "/v1/users/a")[1]["seen"] == ITEMS[:4]
        assert server.ask("DELETE", "/v1/users/a")[0] == 204
        assert server.ask("GET", "/v1/users/a")[0] == 404


@pytest.mark.slow
def test_hostile_requests_are_refused_and_write_nothing(bundle: Bundle, tmp_path: Path) -> None:
    counts = hostile.trial(bundle.path, tmp_path, 1400, threads=8, seed=5)
    assert counts.sound, counts
    assert sum(own["400"] for own in counts.answers.values()) > 500
    assert sum(own["200"] for own in counts.answers.values()) > 20


@pytest.mark.slow
def test_a_slow_body_and_a_silent_caller_hold_nobody_up(bundle: Bundle) -> None:
    with Server(bundle.path, "--limit", "body_seconds=0.5") as server:
        head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nContent-Type: application/json\r\n\r\n{"
        slow = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        slow.sendall(head)
        assert server.ask("POST", "/v1/events", {"user": "a", "item": "i1"})[0] == 200
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        both = head.replace(b"Content-Length: 100", b"Content-Length: 1\r\nTransfer-Encoding: chunked")
        smuggled = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        smuggled.sendall(both + b"GET /v1/users/a HTTP/1.1\r\n\r\n")
        assert smuggled.recv(1000).startswith(b"HTTP/1.1 400 ")
        slow.close()
        smuggled.close()


@pytest.mark.slow
def test_its_log_is_json_with_request_ids(bundle: Bundle) -> None:
    with Server(bundle.path, "--log-requests") as server:
        assert server.ask("GET", "/v1/users/nobody")[0] == 404
        lines = [json.loads(line) for line in server.end(signal.SIGTERM).splitlines()]
    (line,) = (line for line in lines if line.get("path") == "/v1/users/nobody")
    assert (line["status"], line["method"]) == (404, "GET")
    assert line["request_id"]
    assert line["message"].startswith("expected a known user")


IMPORT = """
import sys
import deployrec.server.process
for name in "torch onnx onnxscript polars pandas pydantic safetensors lightning triton scipy".split():
    assert name not in sys.modules, name
"""


def test_the_server_needs_no_torch() -> None:
    subprocess.run([sys.executable, "-c", IMPORT], check=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["no-bundle"], "got no such folder"),
        ([], "expected BUNDLE or --bundles DIR; got neither"),
        (["BUNDLE", "--workers", "2"], "outlives a process"),
        (["BUNDLE", "--port", "70000"], "free port"),
        (["BUNDLE", "--host", "no.such.host.invalid"], "address of this machine"),
        (["BUNDLE", "--limit", "max_q=1"], "limits of serve"),
        (["BUNDLE", "--limit", "max_k=0"], "max_k"),
        (["BUNDLE", "--max-batch", "0"], "max_batch"),
        (["BUNDLE", "--store", "lmdb:/no/such/folder/at/all"], "expected a folder"),
        (["BUNDLE", "--token-file", "no-token"], "no-token"),
        (["--bundles", "DIR", "--store", "lmdb:users"], "current.json"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    arguments: list[str],
    part: str,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"BUNDLE": str(bundle.path), "DIR": str(tmp_path)}
    assert run(["serve", *(places.get(argument, argument) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1
