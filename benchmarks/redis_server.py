"""A Redis server of one's own on a free port of this machine, for benchmarks and tests."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from deployrec.errors import ConfigError

SECONDS = 30.0
"""How long a server may take to answer."""


def available() -> bool:
    """Whether `redis-server` is installed."""
    return shutil.which("redis-server") is not None


class RedisServer:
    """Keeps its data in a folder; what it has answered is on disk (`appendfsync always`), so that it may be killed."""

    def __init__(self, folder: Path, *options: str) -> None:
        if not available():
            raise ConfigError("expected the program redis-server; got none; run apt-get install redis-server")
        self.folder = folder
        self.options = options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.start()

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        durable = [
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
            "--auto-aof-rewrite-min-size",
            "16mb",
        ]
        place = ["--dir", str(self.folder), "--bind", "127.0.0.1", "--port", str(self.port), "--loglevel", "warning"]
        log = (self.folder / "redis.log").open("ab")
        self.process = subprocess.Popen(["redis-server", *place, *durable, *self.options], stdout=log, stderr=log)
        log.close()
        until = time.monotonic() + SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > until:
                raise ConfigError(f"expected redis-server to start; got no answer; see {self.folder / 'redis.log'}")
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL: nothing is written any more."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False
