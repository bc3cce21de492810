"""A server that ends under load, by SIGTERM or SIGKILL: nothing that it acknowledged is lost, nothing applied twice.

    python -m benchmarks.server_kills bundles/glintru --rounds 20

Over LMDB and over Redis (which writes before it answers), `deployrec serve` answers --connections callers, each with a
user of its own, until a signal ends it at a random moment; it is started again, and every caller sends what was not
acknowledged once more. Then each user's history must be what was sent, event by event, and in the end each state that
of the history read afresh, within the certificate's limits. After a SIGTERM no caller may be left without an answer.
Prints the counts and writes server_kills.json; exit code 1 where an event was lost or applied twice.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.callers import Callers, Server
from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from benchmarks.redis_server import RedisServer, available
from deployrec.bundle.bundle import Bundle
from deployrec.bundle.parity import USER_ATOL
from deployrec.runtime import Recommender

LONGEST = 2.0
"""Seconds within which a signal comes."""
SIGNALS = (signal.SIGTERM, signal.SIGKILL)


@dataclass
class Counts:
    """What became of the events over one store and one signal. All that count a fault must be 0."""

    store: str
    signal: str
    rounds: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    """events that were under way when the server ended"""
    applied_unanswered: int = 0
    """those of them that the store had"""
    lost: int = 0
    applied_twice: int = 0
    histories_wrong: int = 0
    states_wrong: int = 0

    @property
    def sound(self) -> bool:
        drained = self.signal != signal.SIGTERM.name or not self.applied_unanswered
        return drained and not (self.lost or self.applied_twice or self.histories_wrong or self.states_wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=20, help="of each signal over each store")
    parser.add_argument("--stores", nargs="+", choices=["lmdb", "redis"], default=["lmdb", "redis"])
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    add_out(parser)
    arguments = parser.parse_args()
    if "redis" in arguments.stores and not available():
        parser.exit(2, "server_kills.py: expected the program redis-server; got none; name --stores lmdb\n")
    rows: list[Counts] = []
    with clear_errors(parser), tempfile.TemporaryDirectory() as folder:
        for kind in arguments.stores:
            for number in SIGNALS:
                own = Path(folder) / f"{kind}-{number.name}"
                own.mkdir()
                rows.append(
                    trial(arguments.bundle, own, kind, number, arguments.rounds, arguments.connections, arguments.seed)
                )
    lines = [[str(value) for value in asdict(row).values()] for row in rows]
    print(markdown([name.replace("_", " ") for name in asdict(rows[0])], lines))
    about = {"connections": arguments.connections, "rows": [asdict(row) for row in rows]}
    write_results("server_kills", {"machine": machine("cpu"), **about}, arguments.out or UNTRACKED)
    sys.exit(0 if all(row.sound for row in rows) else 1)


def trial(
    path: Path, folder: Path, kind: str, number: signal.Signals, rounds: int, connections: int, seed: int
) -> Counts:
    """Ends a server so many times; `folder` takes the store."""
    counts, draw = Counts(kind, number.name), random.Random(seed)
    items = Bundle.open(path).catalogue().item_ids[1:]
    with ExitStack() as stack:
        redis = kind == "redis"
        store = stack.enter_context(RedisServer(folder)).address if redis else f"lmdb:{folder / 'users'}"
        server = stack.enter_context(Server(path, "--store", store))
        for part in range(rounds):
            with Callers(server.port, connections, items, f"round-{part}") as callers:
                time.sleep(draw.uniform(0.2, LONGEST))
                server.end(number)
            server.start()
            check(server, callers, counts)
        compare(path, store, items, counts)
    return counts


def check(server: Server, callers: Callers, counts: Counts) -> None:
    """What the store had of each user's events, once those without an answer are sent again."""
    counts.rounds += 1
    for user, answers in callers.acknowledged.items():
        counts.acknowledged += len(answers)
        sent, there = callers.sent[user], 0
        if sent:
            status, record = server.ask("GET", f"/v1/users/{user}")
            there = record["num_events"] if status == 200 else 0
        counts.lost += max(0, len(answers) - there)
        counts.applied_twice += max(0, there - sent)
        counts.unanswered += sent - len(answers)
        counts.applied_unanswered += max(0, there - len(answers))
        for place in range(len(answers), sent):
            outcome = server.ask("POST", "/v1/events", callers.event(user, place))[1]["outcomes"]
            expected = ["duplicate"] if place < there else ["applied"]
            counts.applied_twice += outcome != expected


def compare(path: Path, store: str, items: list[str], counts: Counts) -> None:
    """Every history holds the items in their order, and every state is that of its history, read afresh."""
    with Recommender.load(path, store=store) as recommender, Recommender.load(path) as fresh:
        for user in list(recommender.store.users()):
            (kept,) = recommender.store.history([user])
            history = kept or []
            counts.histories_wrong += history != [items[number % len(items)] for number in range(len(history))]
            fresh.encode_history(user, history)
            stored, read = recommender.user_vector(user), fresh.user_vector(user)
            counts.states_wrong += stored is None or read is None or float(np.abs(stored - read).max()) > USER_ATOL


if __name__ == "__main__":
    main()
