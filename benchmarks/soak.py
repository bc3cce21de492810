"""Whether a server's memory stays where it is: many minutes of events, lists, bare histories and refused requests.

    python -m benchmarks.soak bundles/recblr --minutes 30 --rate 100

One connection asks `deployrec serve BUNDLE --store lmdb:...` at --rate requests a second: of 20 requests 12 are events
with a list, 4 lists, 2 bare histories, 2 refused ones (no JSON, an unknown column). Users are drawn from --users, items
from the catalogue. Prints the server's memory that no file backs every minute, its answers by status, how much the
memory grew between the first half's median and the second's, and what the users' records gained meanwhile, of which an
item and an event's id take EVENT_BYTES; writes soak.json.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, write_results
from benchmarks.serving import server
from deployrec.bundle import Bundle

MINUTE = 60.0
EVENTS, LISTS, HISTORIES, ALL = 12, 16, 18, 20
"""Of so many requests, those up to each number are of its kind; the others are to be refused."""
JSON = {"Content-Type": "application/json"}
EXPECTED = {"200", "400"}
EVENT_BYTES = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=100, help="requests a second")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser), tempfile.TemporaryDirectory() as folder:
        found = soak(arguments, Path(folder))
    half = len(found["mib"]) // 2
    grown = statistics.median(found["mib"][half:]) - statistics.median(found["mib"][:half])
    gained = EVENT_BYTES * found["events"] / 2 / 2**20  # half of the events lie between the halves' middles
    print(f"{found['answers']}; {grown:+.1f} MiB from the first half to the second, {gained:.1f} of it users' records")
    about = {"minutes": arguments.minutes, "rate": arguments.rate, "users": arguments.users}
    about |= {"grown_mib": grown, "records_mib": gained}
    write_results("soak", {"machine": machine("cpu"), **about, **found}, arguments.out or UNTRACKED)


def soak(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """MiB of the server's own memory every minute, and its answers by status."""
    asks = Requests(Bundle.open(arguments.bundle).catalogue().item_ids[1:], arguments.users, arguments.seed)
    answers: Counter[str] = Counter()
    mib: list[float] = []
    options = argparse.Namespace(bundle=arguments.bundle, http="uvicorn", workers=1)
    with server(options, f"lmdb:{folder / 'users'}") as (port, process):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        mib.append(own_memory(process))
        start = time.monotonic()
        number, minute = 0, start + MINUTE
        while (now := time.monotonic()) < start + MINUTE * arguments.minutes:
            if now >= minute:
                minute += MINUTE
                mib.append(own_memory(process))
                print(f"{len(mib) - 1} min  {number:,} requests  {mib[-1]:.1f} MiB", flush=True)
            time.sleep(max(0.0, start + number / arguments.rate - now))
            method, path, body = asks.next()
            connection.request(method, path, body, JSON if body else {})
            answer = connection.getresponse()
            answer.read()
            answers[str(answer.status)] += 1
            number += 1
        connection.close()
        mib.append(own_memory(process))
    assert set(answers) == EXPECTED, f"expected answers of {EXPECTED}; got {answers}"
    return {"mib": mib, "answers": dict(answers), "events": asks.events}


class Requests:
    """Requests as the page above says, drawn anew each time."""

    def __init__(self, items: list[str], users: int, seed: int) -> None:
        self.items, self.users, self.number, self.events = items, users, 0, 0
        self.draw = np.random.default_rng(seed)

    def next(self) -> tuple[str, str, str | None]:
        """Method, path and body."""
        self.number += 1
        kind, user = self.draw.integers(ALL), f"u{self.draw.integers(self.users)}"
        if kind < EVENTS:
            self.events += 1
            event = {"user": user, "item": self._item(), "event_id": str(self.number), "recommend": 10}
            return "POST", "/v1/events", json.dumps(event)
        if kind < LISTS:
            return "GET", f"/v1/users/{user}/recommendations?k=10", None
        if kind < HISTORIES:
            history = [self._item() for _ in range(int(self.draw.integers(1, 100)))]
            return "POST", "/v1/recommendations", json.dumps({"history": history, "where": "popularity >= 1"})
        wrong = '{"users": ["a"], "where": "nothing == 1"}' if kind % 2 else '{"users": ['
        return "POST", "/v1/recommendations", wrong

    def _item(self) -> str:
        return self.items[int(self.draw.integers(len(self.items)))]


def own_memory(process: int) -> float:
    """MiB that no file backs: the store's pages in memory are the system's, which takes them back."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous")) / 1024


if __name__ == "__main__":
    main()
