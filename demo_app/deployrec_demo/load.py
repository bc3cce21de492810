"""`python -m deployrec_demo.load CALLERS SECONDS`: visitors who click what they are shown, sent to a server here.

Each caller waits for its answer before the next event, so that a slow server gets fewer. A process of its own: the
page's threads keep their processor time. It ends after SECONDS or at SIGTERM; every user that it made is erased.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import count
from secrets import token_hex
from types import FrameType

from deployrec.errors import ConfigError
from deployrec_demo.server_address import Address, decoded, of_user

SECONDS, CALLERS = 15, (1, 8, 32)
"""How long a load lasts, and how many callers it may have: no more than this can be asked of the server."""
EVENTS = 30
"""Events of one user; then the caller is somebody else."""
LIST = 10


class Load:
    """The load of this machine's demo: one at a time, whoever asks."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.ends = 0.0
        """time.monotonic() when it ends by itself."""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, address: Address, callers: int) -> None:
        """Begins unless one is running. Raises ConfigError for a server that is not of this machine."""
        check(address, callers)
        with self._lock:
            if self.running:
                return
            command = [sys.executable, "-m", "deployrec_demo.load", str(callers), str(SECONDS)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(command, env=environment)
            self.ends = time.monotonic() + SECONDS

    def stop(self) -> None:
        """Lets the callers finish what they are at, and erase their users."""
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> int:
        """Until it has ended; its exit status."""
        return self._process.wait() if self._process else 0


def check(address: Address, callers: int) -> None:
    """Raises ConfigError for what a load may not be."""
    if not address.here:
        raise ConfigError(f"expected a server of this machine to be loaded; got {address.url}; load goes nowhere else")
    if callers not in CALLERS:
        raise ConfigError(f"expected {' or '.join(map(str, CALLERS))} callers; got {callers}; take one of these")


def visitors(address: Address, name: str, goes_on: Callable[[], bool]) -> None:
    """One caller: somebody who clicks EVENTS times on what the answer before recommended and is erased, then the next.

    Ends without a word where the server does: its own page says so.
    """
    draw = random.Random(name)
    with suppress(OSError, http.client.HTTPException), closing(address.connection(patience=10.0)) as connection:
        for number in count():
            if not goes_on():
                return
            user = f"{name}-{number}"
            try:
                _click_through(address, connection, user, draw, goes_on)
            finally:
                address.ask(connection, "DELETE", of_user(user))


def _click_through(
    address: Address,
    connection: http.client.HTTPConnection,
    user: str,
    draw: random.Random,
    goes_on: Callable[[], bool],
) -> None:
    status, text = address.ask(connection, "GET", f"{of_user(user)}/recommendations?k={LIST}")
    for _ in range(EVENTS):
        if not goes_on():
            return
        if status != 200:  # too busy, or not ready: a visitor would wait too
            time.sleep(0.1)
            return
        found = decoded(text)["recommendations"]
        shown = found[user] if isinstance(found, dict) else found
        if not shown:
            return
        event = {"user": user, "item": draw.choice(shown)["item_id"], "recommend": LIST}
        status, text = address.ask(connection, "POST", "/v1/events", event)


def main() -> None:
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    callers, until = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
    address = Address.given()
    check(address, callers)

    def goes_on() -> bool:
        return not stop.is_set() and time.monotonic() < until

    names = [f"demo-load-{token_hex(4)}" for _ in range(callers)]
    threads = [threading.Thread(target=visitors, args=(address, name, goes_on)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
