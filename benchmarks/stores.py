"""What a durable store costs: events a second of every store in one run, batch after batch, synced at each.

    python -m benchmarks.stores bundles/glintru --users 20000 --rounds 100

Batches of 256 events of as many users, drawn at random, through `Recommender.observe_many`, one thread; the stores take
turns, a batch each, so that a busy machine slows all alike. LMDB is on disk when a batch returns; Redis is a server of
its own on loopback that writes its log before it answers. "LMDB itself" puts the bytes that the batch has put, under
the same keys, in an environment of its own and syncs them, nothing else: no store in LMDB that syncs every batch can
take less time for its writes. Prints the medians and their share of memory's, and writes stores.json. The folder for
the stores is made in --folder (default: the system's temporary one): put it on the disk in question.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from benchmarks.redis_server import RedisServer, available
from deployrec.runtime import Event, Recommender
from deployrec.runtime.durable import Database, open_database
from deployrec.runtime.stores.lmdb.histories import CHUNK, CHUNK_HEAD, ITEM_HEAD

BATCH = 256
ITSELF = "LMDB itself"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--users", type=int, default=20_000, help="who the events are drawn from")
    parser.add_argument("--rounds", type=int, default=100, help="batches of each store that are timed")
    parser.add_argument("--folder", type=Path, help="where the stores lie while they are measured")
    parser.add_argument("--seed", type=int, default=1)
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser), tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        rows = measure(arguments.bundle, arguments.users, arguments.rounds, arguments.seed, Path(folder))
    print(table(rows))
    memory, itself = (row["ms"] for row in rows if row["store"] in ("memory", ITSELF))
    print(f"memory's time and {ITSELF}'s, one after the other: {memory / (memory + itself):.0%} of memory's events/s")
    write_results("stores", {"machine": machine("cpu"), "rows": rows}, arguments.out or UNTRACKED)


def measure(bundle: Path, users: int, rounds: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """A row for each store: median milliseconds of a batch, events a second, share of memory's."""
    rng = np.random.default_rng(seed)
    with ExitStack() as stack:
        addresses = {"memory": "memory", "lmdb": f"lmdb:{folder / 'lmdb'}"}
        addresses["lmdb, no histories"] = f"lmdb:{folder / 'bare'}?history=0"
        if available():
            (folder / "redis").mkdir()
            addresses["redis"] = stack.enter_context(RedisServer(folder / "redis")).address
        serving = {
            name: stack.enter_context(Recommender.load(bundle, threads=1, store=address))
            for name, address in addresses.items()
        }
        items = serving["memory"].catalogue.item_ids[1:]
        itself = stack.enter_context(lmdb.open(str(folder / "itself"), 2**36))
        kept = stack.enter_context(closing(open_database(addresses["lmdb"])))
        times: dict[str, list[float]] = {name: [] for name in [*serving, ITSELF]}
        for number in range(-(rounds // 5) - 3, rounds):
            chosen = [f"user-{user}" for user in rng.choice(users, BATCH, replace=False)]
            read = rng.choice(len(items), BATCH)
            events = [
                Event(user, items[item], f"{number}-{place}")
                for place, (user, item) in enumerate(zip(chosen, read, strict=True))
            ]
            for name, recommender in serving.items():
                start = time.perf_counter()
                recommender.observe_many(events)
                if number >= 0:
                    times[name].append(time.perf_counter() - start)
            put = list(_put_of(kept, serving["lmdb"].bundle.manifest.state_id, chosen))
            start = time.perf_counter()
            with itself.begin(write=True) as txn:
                for key, value in put:
                    txn.put(key, value)
            if number >= 0:
                times[ITSELF].append(time.perf_counter() - start)
    medians = {name: statistics.median(each) for name, each in times.items()}
    return [
        {"store": name, "ms": 1e3 * median, "events_s": BATCH / median, "of_memory": medians["memory"] / median}
        for name, median in medians.items()
    ]


def _put_of(database: Database, state_id: str, users: Sequence[str]) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values that a batch has put: of each user the record, and as many bytes as the newest chunk has."""
    for user, record, history in zip(users, database.get(state_id, users), database.histories(users), strict=True):
        newest = history.items[(history.total - 1) // CHUNK * CHUNK :]
        yield user.encode() + b"r", record or b""
        yield user.encode() + b"h", bytes(CHUNK_HEAD.size + sum(ITEM_HEAD.size + len(item) for item in newest))


def table(rows: list[dict[str, Any]]) -> str:
    lines = [[r["store"], f"{r['ms']:.2f}", f"{r['events_s']:,.0f}", f"{r['of_memory']:.0%}"] for r in rows]
    return markdown(["store", f"ms a batch of {BATCH}", "events/s", "of memory's"], lines)


if __name__ == "__main__":
    main()
