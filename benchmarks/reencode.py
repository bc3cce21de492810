"""What a model change costs: users a second of `deployrec reencode`, beside the bare encode graph, and its memory.

    python -m benchmarks.reencode bundles/glintru --data ml-1m
    python -m benchmarks.reencode bundles/glintru --users 100000 1000000

With --data the histories are a log's, whose items are named anew by the bundle's; the graph's own time is that of the
same histories in the job's groups, without a store, in the same run. With --users they are so many synthetic ones of up
to 20 events, and each number is a process of its own, whose memory is read after every group. One thread; the store is
LMDB, on disk when a group is written. Writes reencode.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from deployrec.bundle.bundle import Bundle
from deployrec.data import load_dataset
from deployrec.jobs.reencode import GROUP, reencode
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.durable import Database, History, open_database
from deployrec.runtime.reader import Reader
from deployrec.runtime.updates import BATCH

LONGEST = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    kinds = parser.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--data", help="an event log whose histories are encoded")
    kinds.add_argument("--users", type=int, nargs="+", help="numbers of synthetic users")
    parser.add_argument("--folder", type=Path, help="where the store lies while it is measured")
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser):
        if arguments.data:
            rows = [of_log(arguments.bundle, arguments.data, arguments.folder)]
        else:
            rows = [in_a_process(arguments.bundle, users, arguments.folder) for users in arguments.users]
    lines = [[f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" for value in row.values()] for row in rows]
    print(markdown(list(rows[0]), lines))
    name = "reencode" if arguments.data else "reencode_memory"
    write_results(name, {"machine": machine("cpu"), "rows": rows}, arguments.out or UNTRACKED)


def of_log(path: Path, data: str, folder: Path | None) -> dict[str, Any]:
    """Seconds of the job and of the bare graph over a log's users."""
    bundle, dataset = Bundle.open(path), load_dataset(data)
    num_items, ids = bundle.manifest.num_items, bundle.catalogue().item_ids
    histories = [
        dataset.events[begin:end] % num_items + 1
        for begin, end in zip(dataset.offsets[:-1].tolist(), dataset.offsets[1:].tolist(), strict=True)
    ]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        named = zip(dataset.user_ids, ([ids[row] for row in rows.tolist()] for rows in histories), strict=True)
        database = filled(f"lmdb:{place}/users", named)
        order = {user: number for number, user in enumerate(dataset.user_ids)}
        scanned = [order[user] for piece in database.users_with_histories() for user in piece]
        start = time.perf_counter()
        reencode(path, database.address)
        seconds = time.perf_counter() - start
        bare = bare_seconds(bundle, [histories[number] for number in scanned])
    return {
        "users": len(histories),
        "events": len(dataset.events),
        "seconds": seconds,
        "of the bare graph": bare,
        "ratio": seconds / bare,
        "users/s": len(histories) / seconds,
    }


def bare_seconds(bundle: Bundle, histories: list[np.ndarray]) -> float:
    """The encode graph over these histories, in the groups and batches of the job."""
    reader, window = Reader(bundle.manifest, load_backend("onnxruntime", bundle)), bundle.manifest.window
    start = time.perf_counter()
    for begin in range(0, len(histories), GROUP):
        group = sorted(histories[begin : begin + GROUP], key=len)
        for first in range(0, len(group), BATCH):
            reader.encode([rows[-window:] if window else rows for rows in group[first : first + BATCH]])
    return time.perf_counter() - start


def in_a_process(bundle: Path, users: int, folder: Path | None) -> dict[str, Any]:
    """The row of so many synthetic users."""
    program = "import sys; from benchmarks.reencode import synthetic; synthetic(*sys.argv[1:])"
    with tempfile.TemporaryDirectory(dir=folder) as place:
        done = subprocess.run(
            [sys.executable, "-c", program, str(bundle), str(users), place], check=True, stdout=subprocess.PIPE
        )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def synthetic(bundle: str, users: str, folder: str) -> None:
    """Fills a store, encodes its users and prints the row."""
    ids, rng = Bundle.open(bundle).catalogue().item_ids, np.random.default_rng(1)

    def named() -> Iterator[tuple[str, list[str]]]:
        for number in range(int(users)):
            rows = rng.integers(1, len(ids), size=int(rng.integers(1, LONGEST + 1)))
            yield f"user-{number}", [ids[row] for row in rows.tolist()]

    database = filled(f"lmdb:{folder}/users", named())
    before, sizes = own_memory(), [0.0]
    start = time.perf_counter()
    reencode(bundle, database.address, progress=lambda *_: sizes.append(own_memory()))
    seconds = time.perf_counter() - start
    row = {
        "users": int(users),
        "seconds": seconds,
        "users/s": int(users) / seconds,
        "MiB before": before,
        "MiB at most": max(sizes),
        "MiB of the store": database.num_bytes() / 2**20,
    }
    print(json.dumps(row))


def own_memory() -> float:
    """MiB of this process's own; pages of the store's file, which the system maps and drops as it likes, are not."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def filled(address: str, named: Iterator[tuple[str, list[str]]]) -> Database:
    """A new store of these users' histories."""
    database = open_database(address, create=True)
    while some := list(islice(named, GROUP)):
        database.put_histories([user for user, _ in some], [History(items, len(items), 1.0) for _, items in some])
    return database


if __name__ == "__main__":
    main()
