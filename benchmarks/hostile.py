"""10,000 hostile requests: no error of the server, no hang, and nothing written by what was refused.

    python -m benchmarks.hostile bundles/recblr --requests 10000

Each goes by a connection of its own to `deployrec serve` over LMDB, --threads at a time: broken and deep JSON, numbers
at the edge of 64 bits, encodings, sizes, paths, methods, headers, lengths, chunks, smuggled requests, bodies that never
end, tensors and filters (benchmarks/hostile_requests.py). In the end the store must hold as many events as were
answered as applied, and no user of a request that was refused. Prints the answers by kind and status, and writes
hostile.json; exit code 1 for a 5xx, a hang or an event of a refused request.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.callers import Server
from benchmarks.hostile_requests import Hostile, Requests
from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from deployrec.bundle.bundle import Bundle
from deployrec.runtime import Recommender

BODY_SECONDS = 0.5
PATIENCE = 10.0
"""Seconds after which a request that has neither an answer nor its connection's end counts as a hang."""
MOMENT = 0.05
"""Seconds after which a connection is given up of which no answer can be expected."""
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n", re.DOTALL)


@dataclass
class Counts:
    """Answers by kind and status ("none" for a connection that ended or was given up), and the faults, all to be 0."""

    answers: dict[str, Counter[str]] = field(default_factory=dict)
    errors: int = 0
    hangs: int = 0
    written_by_refused: int = 0

    @property
    def sound(self) -> bool:
        return not (self.errors or self.hangs or self.written_by_refused)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser), tempfile.TemporaryDirectory() as folder:
        counts = trial(arguments.bundle, Path(folder), arguments.requests, arguments.threads, arguments.seed)
    statuses = sorted({status for answers in counts.answers.values() for status in answers})
    lines = [[kind, *(str(own[status]) for status in statuses)] for kind, own in sorted(counts.answers.items())]
    print(markdown(["kind", *statuses], lines))
    print(f"{counts.errors} errors, {counts.hangs} hangs, {counts.written_by_refused} events of refused requests")
    about = {"requests": arguments.requests, "seed": arguments.seed}
    write_results("hostile", {"machine": machine("cpu"), **about, **vars(counts)}, arguments.out or UNTRACKED)
    sys.exit(0 if counts.sound else 1)


def trial(bundle: Path, folder: Path, number: int, threads: int, seed: int) -> Counts:
    """What became of so many requests; `folder` takes the store."""
    item = Bundle.open(bundle).catalogue().item_ids[1]
    counts, requests, store = Counts(), Requests(seed, item), f"lmdb:{folder / 'users'}"
    applied, refused, unknown = 0, set(), 0
    with Server(bundle, "--store", store, "--limit", f"body_seconds={BODY_SECONDS}") as server:
        with ThreadPoolExecutor(threads) as pool:
            asked = [requests.next() for _ in range(number)]
            for hostile, (answered, hung) in zip(
                asked, pool.map(lambda each: ask(server.port, each), asked), strict=True
            ):
                counts.hangs += hung
                found = counts.answers.setdefault(hostile.kind, Counter())
                found.update([str(status) for status, _ in answered] or ["none"])
                for status, body in answered:
                    counts.errors += status >= 500
                    applied += applied_in(body) if status == 200 else 0
                if hostile.user and answered and all(status >= 400 for status, _ in answered):
                    refused.add(hostile.user)
                unknown += not answered and not hostile.user
        assert server.ready(), "the server has ended"
    with Recommender.load(bundle, store=store) as recommender:
        users = list(recommender.store.users())
        total = sum(int(recommender.store.read([user]).num_events[0]) for user in users)
    counts.written_by_refused = len(refused & set(users)) + max(0, total - applied - unknown)
    return counts


def ask(port: int, hostile: Hostile) -> tuple[list[tuple[int, bytes]], bool]:
    """Status and body of every answer, and whether none came in time although one must."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE if hostile.whole else MOMENT) as connection:
        with suppress(OSError):  # refused before it was read to its end
            connection.sendall(hostile.content)
        try:
            while not complete(received, hostile.content[:4] == b"HEAD") or not hostile.whole:
                part = connection.recv(1 << 16)
                if not part:
                    break
                received += part
        except TimeoutError:
            return answers_in(received), hostile.whole
        except OSError:
            pass  # the connection's end is an answer
    return answers_in(received), False


def answers_in(received: bytes) -> list[tuple[int, bytes]]:
    """Status and body of all whole answers."""
    found = []
    while (start := STATUS.search(received)) is not None:
        length = re.search(rb"content-length: (\d+)", start[0])
        end = start.end() + (int(length[1]) if length else 0)
        found.append((int(start[1]), received[start.end() : end]))
        received = received[end:]
    return [(status, body) for status, body in found if status != 100]


def complete(received: bytes, bare: bool) -> bool:
    """Whether one whole answer is there; `bare` comes without a body."""
    start = STATUS.search(received)
    if start is not None and start[1] == b"100":
        return complete(received[start.end() :], bare)
    length = start and re.search(rb"content-length: (\d+)", start[0])
    return start is not None and (bare or len(received) >= start.end() + (int(length[1]) if length else 0))


def applied_in(body: bytes) -> int:
    """Events that an answer says are applied."""
    try:
        return list(json.loads(body)["outcomes"]).count("applied")
    except (ValueError, KeyError, TypeError):
        return 0


if __name__ == "__main__":
    main()
