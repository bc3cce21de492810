"""Kills that lose nothing: SIGKILLs of a serving process, and of its Redis server, in the middle of its writes.

    python -m benchmarks.kills bundles/glintru --kills 1000

A process reads a seeded stream of batches into a store, each with event ids or sequences, and says when a call begins
and when it has returned: from then on its events are acknowledged. It is killed at a random moment, over and over; the
next one sends again what was not acknowledged, and some of what was. After each kill every user must have read all
acknowledged events, and no more than were sent; in the end each kept history must be the stream's, and each state that
of the history read afresh, within the certificate's limits. Half of the kills in Redis hit the server, whose log is on
disk before it answers (`appendfsync always`). Prints the counts and writes kills.json; exit code 1 where an event was
lost or applied twice.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from operator import add
from pathlib import Path

import numpy as np

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from benchmarks.redis_server import RedisServer, available
from deployrec.bundle.bundle import Bundle
from deployrec.bundle.parity import STATE_RTOL, USER_ATOL
from deployrec.runtime import Event, Recommender
from deployrec.runtime.backends.base import Backend, load_backend
from deployrec.runtime.reader import Reader
from deployrec.runtime.stores import Layout, load_store
from deployrec.runtime.stores.lmdb import log

USERS, LARGEST, AGAIN = 40, 24, 3
"""Users of the stream, events of its largest batch, and acknowledged batches that are sent again after a kill."""
CALLS = 6
"""Within the time of so many calls a process is killed."""
LOG_STEP, LOG_STEPS, OPTIONS = 16, 2, "?journal=4"
"""So soon a store in LMDB moves events from its log into journals, and writes records: within the life of a process."""
BEGUN, ACKNOWLEDGED = b"b", b"a"


@dataclass
class Counts:
    """What became of the events. All that count a fault must be 0."""

    store: str
    kills: int = 0
    server_kills: int = 0
    within_calls: int = 0
    """kills between the beginning of a call and its return"""
    acknowledged: int = 0
    sent_again: int = 0
    lost: int = 0
    applied_twice: int = 0
    histories_wrong: int = 0
    states_wrong: int = 0
    largest: dict[str, float] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        return not (self.lost or self.applied_twice or self.histories_wrong or self.states_wrong)


class Stream:
    """Batches without end, the same for every seed; event i of batch n is named "n-i"."""

    def __init__(self, items: list[str], seed: int) -> None:
        self.items = items
        self.seed = seed

    def batch(self, number: int) -> list[Event]:
        rng = np.random.default_rng([self.seed, number])
        size = int(rng.integers(1, LARGEST + 1))
        users, items = rng.integers(USERS, size=size), rng.integers(len(self.items), size=size)
        return [
            # Of half of the users the events go by their source's order instead of by an id.
            Event(f"u{user}", self.items[item], None, None, LARGEST * number + place)
            if user % 2
            else Event(f"u{user}", self.items[item], f"{number}-{place}")
            for place, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True))
        ]

    def histories(self, batches: int) -> dict[str, list[str]]:
        """Each user's items of so many batches."""
        read: dict[str, list[str]] = {}
        for number in range(batches):
            for event in self.batch(number):
                read.setdefault(str(event.user), []).append(str(event.item))
        return read


class Trial:
    """One store, and the processes that die over it."""

    def __init__(self, bundle: Bundle, address: str, server: RedisServer | None, seed: int) -> None:
        self.bundle, self.address, self.server = bundle, address, server
        self.backend: Backend = load_backend("onnxruntime", bundle, threads=1)
        self.layout = Layout.of(bundle.manifest)
        self.ids = bundle.catalogue().item_ids
        self.stream = Stream(self.ids[1:], seed)
        self.random = np.random.default_rng(seed)
        self.counts = Counts(address.partition(":")[0])
        self.acknowledged = 0
        """batches"""
        self.sent: Counter[str] = Counter()
        """events of every user in all batches that were begun"""
        self.known: Counter[str] = Counter()
        """events of every user in the acknowledged ones"""
        self.begun = 0
        self.longest = 0.0
        """seconds of CALLS calls"""

    def run(self, kills: int) -> Counts:
        self.serve_undisturbed(2 * CALLS)
        for _ in range(kills):
            self.kill_one()
            self.check_counts()
        self.check_states()
        self.counts.acknowledged = self.known.total()
        return self.counts

    def serve_undisturbed(self, batches: int) -> None:
        """Serves the next batches, and notes what a call takes."""
        recommender = Recommender(self.bundle, self.backend, store=load_store(self.address, self.layout))
        times = []
        for number in range(self.begun, self.begun + batches):
            self._note(BEGUN, number)
            start = time.perf_counter()
            recommender.observe_many(self.stream.batch(number))
            times.append(time.perf_counter() - start)
            self._note(ACKNOWLEDGED, number)
        recommender.close()
        self.longest = CALLS * statistics.median(times)

    def kill_one(self) -> None:
        """A process serves until it is killed, or until its server is, is started again, and it is killed then."""
        first = max(0, self.acknowledged - AGAIN)
        self.counts.sent_again += sum(len(self.stream.batch(n)) for n in range(first, self.acknowledged))
        child, pipe = self._serve(first)
        try:
            self._listen(pipe, child, self.random.uniform(0, self.longest))
            if self.server is not None and self.counts.kills % 2:
                self.server.kill()
                self.server.start()
                self.counts.server_kills += 1
                self._listen(pipe, child, self.random.uniform(0, self.longest))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            self._listen(pipe, None, 0)
            self.counts.kills += 1
            self.counts.within_calls += self.begun > self.acknowledged
        finally:
            os.close(pipe)

    def _serve(self, first: int) -> tuple[int, int]:
        """A new process that serves from this batch on, and the pipe in which it says so."""
        reading, writing = os.pipe()
        child = os.fork()
        if child:
            os.close(writing)
            return child, reading
        try:
            recommender = Recommender(self.bundle, self.backend, store=load_store(self.address, self.layout))
            number = first
            while True:
                events = self.stream.batch(number)
                os.write(writing, BEGUN + number.to_bytes(8, "little"))
                if len(events) == 1:
                    recommender.observe(**events[0]._asdict())
                else:
                    recommender.observe_many(events)
                os.write(writing, ACKNOWLEDGED + number.to_bytes(8, "little"))
                number += 1
        except BaseException as error:
            print(f"the serving process ended: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(1)

    def _listen(self, pipe: int, child: int | None, seconds: float) -> None:
        """Notes what the process says: a living one for so long after its first word, else to the end of the pipe."""
        until = time.monotonic() + (30 if child else 3600)
        first = True
        while True:
            ready, _, _ = select.select([pipe], [], [], max(0, until - time.monotonic()))
            if not ready:
                break
            said = os.read(pipe, 9)
            if not said:
                if child:
                    raise RuntimeError(f"expected the process over {self.address} to serve; it ended by itself")
                break
            if first and child:
                first, until = False, time.monotonic() + seconds
            self._note(said[:1], int.from_bytes(said[1:], "little"))

    def _note(self, word: bytes, number: int) -> None:
        if word == BEGUN and number >= self.begun:
            self.begun = number + 1
            self.sent.update(str(event.user) for event in self.stream.batch(number))
        elif word == ACKNOWLEDGED and number >= self.acknowledged:
            self.acknowledged = number + 1
            self.known.update(str(event.user) for event in self.stream.batch(number))

    def check_counts(self) -> None:
        """Every user has read all that was acknowledged, and no more than was begun."""
        store = load_store(self.address, self.layout)
        users = sorted(self.sent)
        rows = store.read(users)
        unread = map(len, rows.unread or [()] * len(users))
        for user, there in zip(users, map(add, rows.num_events.tolist(), unread), strict=True):
            self.counts.lost += max(0, self.known[user] - there)
            self.counts.applied_twice += max(0, there - self.sent[user])
        store.close()

    def check_states(self) -> None:
        """Ends what was begun, then holds every history and state against the stream's."""
        recommender = Recommender(self.bundle, self.backend, store=load_store(self.address, self.layout))
        for number in range(max(0, self.acknowledged - AGAIN), self.begun):
            recommender.observe_many(self.stream.batch(number))
        self.known, self.acknowledged = Counter(self.sent), self.begun
        expected = self.stream.histories(self.begun)
        users = sorted(expected)
        reader = Reader(self.bundle.manifest, self.backend)
        places = {item: row for row, item in enumerate(self.ids)}
        kept = recommender.store.history(users)
        for place, user in enumerate(users):
            items = np.array([places[item] for item in expected[user]], np.int64)
            if self.bundle.manifest.window:
                items = items[-self.bundle.manifest.window :]
            record, fresh = recommender.user(user), reader.encode([items])
            self.counts.histories_wrong += kept[place] != expected[user]
            if record is None:
                self.counts.states_wrong += 1
                continue
            errors = {"user": float(np.abs(record.user_vector - fresh.user[0]).max())}
            held = errors["user"] <= USER_ATOL
            for name, tensor in record.state.items():
                exact = fresh.state[name][0]
                errors[name] = float(np.abs(tensor - exact).max())
                held &= errors[name] <= STATE_RTOL * max(1.0, float(np.abs(exact).max()))
            self.counts.states_wrong += not held
            largest = self.counts.largest
            self.counts.largest = {name: max(error, largest.get(name, 0.0)) for name, error in errors.items()}
        recommender.close()


def trials(bundle: Bundle, folder: Path, kinds: list[str], kills: int, seed: int) -> Iterator[Counts]:
    """The counts of each store, of so many kills."""
    log.STEP, log.STEPS = LOG_STEP, LOG_STEPS
    for kind in kinds:
        with ExitStack() as stack:
            server = None
            if kind == "redis":
                (folder / kind).mkdir()
                server = stack.enter_context(RedisServer(folder / kind))
            address = f"lmdb:{folder / kind}{OPTIONS}" if server is None else server.address
            yield Trial(bundle, address, server, seed).run(kills)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--kills", type=int, default=1000, help="over all stores")
    parser.add_argument("--stores", nargs="+", choices=["lmdb", "redis"], default=["lmdb", "redis"])
    parser.add_argument("--seed", type=int, default=1)
    add_out(parser)
    arguments = parser.parse_args()
    if "redis" in arguments.stores and not available():
        parser.exit(2, "kills.py: expected the program redis-server; got none; name --stores lmdb, or install it\n")
    with clear_errors(parser), tempfile.TemporaryDirectory() as folder:
        bundle = Bundle.open(arguments.bundle)
        each = arguments.kills // len(arguments.stores)
        rows = list(trials(bundle, Path(folder), arguments.stores, each, arguments.seed))
    header = ["store", "kills", "of the server", "within calls", "events", "sent again", "lost", "twice", "wrong"]
    lines = [
        [
            c.store,
            *map(
                str,
                (
                    c.kills,
                    c.server_kills,
                    c.within_calls,
                    c.acknowledged,
                    c.sent_again,
                    c.lost,
                    c.applied_twice,
                    c.histories_wrong + c.states_wrong,
                ),
            ),
        ]
        for c in rows
    ]
    print(markdown(header, lines))
    write_results("kills", {"machine": machine("cpu"), "rows": [asdict(c) for c in rows]}, arguments.out or UNTRACKED)
    sys.exit(0 if all(c.sound for c in rows) else 1)


if __name__ == "__main__":
    main()
