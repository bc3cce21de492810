"""What a durable store costs: events a second of every store in one run, batch after batch, synced at each.

    python -m benchmarks.stores bundles/glintru --users 20000 --rounds 100

Batches of 256 events of as many users, drawn at random, through `Recommender.observe_many`, one thread; the stores take
turns, a batch each, so that a busy machine slows all alike. Before, every user has read 1 to --before events, one by
one, so that as many records are due to be written in a batch, and as much of the log, as when this goes on for ever;
with --before 0 the stores are empty, and most users of a batch are new, whose records are written whole.
LMDB is on disk when a batch returns, with its journal, with records written whole at every event ("no journal"), and
without histories, where that must be so; Redis is a server of its own on loopback that writes its log before it
answers. Prints the medians, the means, and the medians' share of memory's, and writes stores.json. The folder for the
stores is made in --folder (default: the system's temporary one): put it on the disk in question.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from benchmarks.redis_server import RedisServer, available
from deployrec.runtime import Event, Recommender

BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--users", type=int, default=20_000, help="who the events are drawn from")
    parser.add_argument("--before", type=int, default=16, help="events that a user has read before, at most")
    parser.add_argument("--rounds", type=int, default=100, help="batches of each store that are timed")
    parser.add_argument("--folder", type=Path, help="where the stores lie while they are measured")
    parser.add_argument("--seed", type=int, default=1)
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser), tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        numbers = (arguments.users, arguments.before, arguments.rounds, arguments.seed)
        rows = measure(arguments.bundle, *numbers, Path(folder))
    print(table(rows))
    write_results("stores", {"machine": machine("cpu"), "rows": rows}, arguments.out or UNTRACKED)


def measure(bundle: Path, users: int, before: int, rounds: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """A row for each store: median and mean milliseconds of a batch, events a second, share of memory's."""
    rng = np.random.default_rng(seed)
    with ExitStack() as stack:
        addresses = {"memory": "memory", "lmdb": f"lmdb:{folder / 'lmdb'}"}
        addresses["lmdb, no journal"] = f"lmdb:{folder / 'whole'}?journal=0"
        addresses["lmdb, no histories"] = f"lmdb:{folder / 'bare'}?history=0"
        if available():
            (folder / "redis").mkdir()
            addresses["redis"] = stack.enter_context(RedisServer(folder / "redis")).address
        serving = {
            name: stack.enter_context(Recommender.load(bundle, threads=1, store=address))
            for name, address in addresses.items()
        }
        items = serving["memory"].catalogue.item_ids[1:]
        read_before = rng.integers(1, before + 1, users) if before else np.zeros(users, int)
        for number in range(before):
            some = np.flatnonzero(read_before > number).tolist()
            events = [
                Event(f"user-{user}", items[item], f"before-{number}")
                for user, item in zip(some, rng.choice(len(items), len(some)).tolist(), strict=True)
            ]
            for recommender in serving.values():
                recommender.observe_many(events)
        times: dict[str, list[float]] = {name: [] for name in serving}
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
    medians = {name: statistics.median(each) for name, each in times.items()}
    return [
        {
            "store": name,
            "ms": 1e3 * median,
            "mean_ms": 1e3 * statistics.mean(times[name]),
            "events_s": BATCH / median,
            "of_memory": medians["memory"] / median,
        }
        for name, median in medians.items()
    ]


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        [r["store"], f"{r['ms']:.2f}", f"{r['mean_ms']:.2f}", f"{r['events_s']:,.0f}", f"{r['of_memory']:.0%}"]
        for r in rows
    ]
    return markdown(["store", f"ms a batch of {BATCH}", "mean", "events/s", "of memory's"], lines)


if __name__ == "__main__":
    main()
