"""A server in processes of its own, and callers that note what was acknowledged."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
LIST = 3
"""Items that a caller wants."""


class Server:
    """`deployrec serve` on a free port, ready; it may be stopped, killed and started again."""

    def __init__(self, *arguments: str | Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.arguments = [*map(str, arguments), "--port", str(self.port)]
        self.start()

    def start(self) -> None:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - a pipe that nobody reads would hold the server up
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deployrec", "serve", *self.arguments],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=self.log,
        )
        until = time.monotonic() + 60
        while not self.ready():
            assert self.process.poll() is None, self._logged()
            assert time.monotonic() < until
            time.sleep(0.05)

    def ready(self) -> bool:
        try:
            return self.ask("GET", "/v2/health/ready")[0] == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        with connected(self.port) as connection:
            return ask(connection, method, path, body)

    def end(self, number: signal.Signals) -> str:
        """Sends a signal and waits; what the process had logged."""
        self.process.send_signal(number)
        self.process.wait(60)
        return self._logged()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.log.close()

    def _logged(self) -> str:
        self.log.seek(0)
        return self.log.read()


@contextmanager
def connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> tuple[int, Any]:
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text else None


class Answered(NamedTuple):
    """What one event was answered: by which bundles, and with which list after it, as (item id, score)."""

    item: str
    bundle_ids: tuple[str, ...]
    best: list[tuple[str, float]]


class Callers:
    """Threads that send events until they are told to stop or the server is gone; each has one user of its own.

    acknowledged: of each user, the events that were answered as applied, in their order; sent: how many were sent.
    """

    def __init__(self, port: int, threads: int, items: list[str], name: str = "caller") -> None:
        self.port, self.items = port, items
        self.acknowledged: dict[str, list[Answered]] = {f"{name}-{number}": [] for number in range(threads)}
        self.sent = dict.fromkeys(self.acknowledged, 0)
        self.statuses: list[int] = []
        """of all answers, in their order"""
        self.bundle_ids: list[tuple[str, ...]] = []
        """of all applied events, in their order"""
        self.seconds: list[float] = []
        """of all answers"""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(user,)) for user in self.acknowledged]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def event(self, user: str, number: int) -> dict[str, Any]:
        """A user's event of this number; the list after it is wanted too, never short of items."""
        item = self.items[number % len(self.items)]
        return {"user": user, "item": item, "event_id": number, "recommend": LIST, "exclude_seen": False}

    def _call(self, user: str) -> None:
        with connected(self.port) as connection:
            while not self._stop.is_set():
                event = self.event(user, self.sent[user])
                self.sent[user] += 1
                start = time.perf_counter()
                try:
                    status, answer = ask(connection, "POST", "/v1/events", event)
                except (OSError, http.client.HTTPException):
                    if self._stop.is_set() or not self._reconnect(connection):
                        return
                    self.sent[user] -= 1
                    continue
                self.seconds.append(time.perf_counter() - start)
                self.statuses.append(status)
                if status == 200 and answer["outcomes"] == ["applied"]:
                    best = [(entry["item_id"], entry["score"]) for entry in answer["recommendations"][user]]
                    answered = Answered(event["item"], tuple(answer["bundle_ids"]), best)
                    self.acknowledged[user].append(answered)
                    self.bundle_ids.append(answered.bundle_ids)

    def _reconnect(self, connection: http.client.HTTPConnection) -> bool:
        """Whether the server is still there: one that closes an idle connection is, one that was ended is not."""
        connection.close()
        try:
            connection.connect()
        except OSError:
            return False
        return True
