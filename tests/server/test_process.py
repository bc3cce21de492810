"""Servers in processes of their own: what they acknowledged outlives them, however they end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployrec.bundle import Bundle
from deployrec.cli.main import run
from deployrec.runtime import Recommender
from tests.runtime.conftest import stored
from benchmarks.callers import Callers, Server, connected

ITEMS = [f"i{row}" for row in range(1, 31)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_acknowledged_is_lost(number: signal.Signals, bundle: Bundle, tmp_path: Path) -> None:
    store = f"lmdb:{tmp_path / 'users'}"
    with Server(bundle.path, "--store", store) as server, Callers(server.port, 16, ITEMS) as callers:
        time.sleep(2)
        log = server.end(number)
    assert sum(map(len, callers.acknowledged.values())) > 50
    assert set(callers.statuses) <= {200, 503}
    if number is signal.SIGTERM:
        assert set(callers.statuses) == {200}
        assert "Application shutdown complete" in log
    with Recommender.load(bundle.path, store=store) as recommender:
        for user, items in callers.acknowledged.items():
            (history,) = recommender.store.history([user])
            assert history is not None
            # An event that was applied and never answered may be there; one that was answered must.
            assert history[: len(items)] == items
            assert len(history) <= callers.sent[user]
            fresh = Recommender.load(bundle.path)
            fresh.encode_history(user, history)
            assert stored(fresh, user).user_vector == pytest.approx(stored(recommender, user).user_vector, abs=1e-5)


@pytest.mark.slow
def test_processes_share_a_store_and_their_counts(bundle: Bundle, tmp_path: Path) -> None:
    arguments = (bundle.path, "--store", f"lmdb:{tmp_path / 'users'}", "--workers", "2")
    with Server(*arguments) as server:
        time.sleep(1)  # the second process gets ready by itself
        with Callers(server.port, 8, ITEMS) as callers:
            time.sleep(2)
        assert set(callers.statuses) == {200}
        for user, items in callers.acknowledged.items():
            assert server.ask("GET", f"/v1/users/{user}")[1]["num_events"] == len(items)
        with connected(server.port) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        applied = [line for line in lines if line.startswith("deployrec_events_total") and '"applied"' in line]
        assert sum(float(line.rpartition(" ")[2]) for line in applied) == len(callers.statuses)


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
