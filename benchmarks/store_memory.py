"""How much memory the store of one process takes for many users, and the longest that any of its calls takes.

    python -m benchmarks.store_memory --users 1000000

Users come in batches of 256 with a record of RecBLR's size (d=64), 40 seen items and 10 event ids each; then some are
moved on, some new ones come to a full `memory:N` (as many others leave), all are saved to a file while a thread goes on
observing, and all are forgotten. Prints the process's memory over the bytes of the records, and for each kind of call
its median and its longest time, by the clock and by the processor (what other processes take is in the first alone).
Writes store_memory.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deployrec.runtime.stores import Layout, Rows
from deployrec.runtime.stores.file import blocks_of, write_states
from deployrec.runtime.stores.memory import MemoryStore
from deployrec.state import StateSpec, StateTensor

LAYOUT = Layout(
    "0" * 64,
    num_items=3416,
    dim=64,
    window=0,
    state=StateSpec(
        tuple(StateTensor(f"{n}.{k}", shape) for n in (0, 1) for k, shape in (("conv", (3, 128)), ("hidden", (128,))))
    ),
)
BATCH = 256
SEEN, EVENT_IDS = 40, 10
MOVED = 400
"""Batches of each further kind of call."""


class Times:
    """Durations of calls of one kind, by the clock and by the processor."""

    def __init__(self) -> None:
        self.clock: list[float] = []
        self.processor: list[float] = []

    def of(self, call: Callable[[], object]) -> None:
        clock, processor = time.perf_counter(), time.thread_time()
        call()
        self.clock.append(time.perf_counter() - clock)
        self.processor.append(time.thread_time() - processor)

    def figures(self) -> dict[str, float]:
        return {
            "median_ms": 1e3 * float(np.median(self.clock)),
            "longest_ms": 1e3 * max(self.clock),
            "longest_processor_ms": 1e3 * max(self.processor),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    report = measured(options.users)
    for name, figure in report["memory"].items():
        print(f"{name:34s} {figure:14,.3f}")
    print(f"\n{'':34s} {'median ms':>10s} {'longest ms':>11s} {'of processor':>13s}")
    for name, times in report["calls"].items():
        print(
            f"{name:34s} {times['median_ms']:10.3f} {times['longest_ms']:11.2f} {times['longest_processor_ms']:13.2f}"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "store_memory.json").write_text(json.dumps(report, indent=2) + "\n")


def measured(users: int) -> dict[str, Any]:
    """All figures for so many users."""
    choose = random.Random(0)
    names = _names(f"user {number}" for number in range(users))
    gc.collect()
    before = _resident()
    store = MemoryStore(LAYOUT, max_users=users)
    calls = {name: Times() for name in ("write of new users", "read", "write", "write of one new user", "forget")}
    for start in range(0, users, BATCH):
        _write(store, names[start : start + BATCH].tolist(), calls["write of new users"])
    record = LAYOUT.record_bytes + 4 * SEEN + 8 * EVENT_IDS
    grown = _resident() - before
    memory = {
        "users": users,
        "bytes of a record": record,
        "process over records": grown / (users * record),
        "blocks over fixed parts": store.bytes / (users * LAYOUT.record_bytes),
    }
    for _ in range(MOVED):
        _write(store, _some(names, choose), calls["write"], calls["read"])
    new = [f"new {number}" for number in range(MOVED)]
    for user in new:  # each one's coming makes another leave
        _write(store, [user], calls["write of one new user"])
    memory["users after as many left as came"] = len(store)
    calls["read and write during a save"], memory["seconds of the save"] = _while_saving(store, choose)
    everybody = _names(store.users())
    np.random.default_rng(0).shuffle(everybody)
    for start in range(0, len(everybody), BATCH):
        part = everybody[start : start + BATCH].tolist()
        calls["forget"].of(lambda part=part: store.forget(part))  # type: ignore[misc]
    gc.collect()
    memory["process over records, all forgotten"] = (_resident() - before) / (users * record)
    return {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "memory": memory,
        "calls": {name: times.figures() for name, times in calls.items()},
    }


def _while_saving(store: MemoryStore, choose: random.Random) -> tuple[Times, float]:
    """Calls on the store while another thread saves it as `Recommender.save_states` does, a lock for each block."""
    times, lock, known = Times(), threading.Lock(), _names(store.users())
    with tempfile.TemporaryDirectory() as folder:

        def save() -> None:
            blocks = blocks_of(store)

            def following() -> tuple[Sequence[str], Rows] | None:
                with lock:
                    return next(blocks, None)

            write_states(Path(folder) / "states.npz", LAYOUT, {}, iter(following, None))

        saving = threading.Thread(target=save)
        begin = time.perf_counter()
        saving.start()
        while saving.is_alive():

            def move() -> None:
                with lock:
                    _write(store, _some(known, choose), Times())

            times.of(move)
        saving.join()
        return times, time.perf_counter() - begin


def _write(store: MemoryStore, users: Sequence[str], write: Times, read: Times | None = None) -> None:
    """The users' next records."""
    found: list[Rows] = []
    (read or Times()).of(lambda: found.append(store.read(users)))
    rows = found[0].take(range(len(users)))
    rows.version[...] += 1
    rows.user[...] = 1
    for tensor in rows.state.values():
        tensor[...] = 1
    rows.seen = [np.arange(1, 1 + SEEN, dtype=np.int32).tobytes() for _ in users]
    rows.event_hashes = [np.arange(EVENT_IDS, dtype=np.uint64).tobytes() for _ in users]
    write.of(lambda: store.write(users, rows))


def _names(users: Iterable[str]) -> np.ndarray:
    """Users [N] in an array, which the garbage collector, unlike a list, does not walk through during a call."""
    listed = list(users)
    names = np.empty(len(listed), object)
    names[:] = listed
    return names


def _some(names: np.ndarray, choose: random.Random) -> list[str]:
    chosen: list[str] = names[choose.sample(range(len(names)), min(BATCH, len(names)))].tolist()
    return chosen


def _resident() -> int:
    """Bytes of memory that the process holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("expected VmRSS in /proc/self/status; got none; run this on Linux")


if __name__ == "__main__":
    main()
