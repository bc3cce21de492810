"""A model that changes under load: no request fails, no answer mixes two bundles, no event is lost.

    python -m benchmarks.flips bundles/recblr bundles/glintru --seconds 60 --flips 10

`deployrec serve --bundles` answers --connections callers, each with a user of its own who sends event after event and
asks for the list after it, while `current.json` names now the one bundle, now the other. Nobody is encoded beforehand.
Then every list is held against the one that the bundle it names gives after that user's events so far, and every
user's history in the store (LMDB) against what was acknowledged. Prints the counts and writes flips.json; exit code 1
where a request failed, an answer was mixed or an event lost.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.callers import LIST, Answered, Callers, Server
from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from deployrec.bundle.bundle import Bundle
from deployrec.bundle.current import flip
from deployrec.runtime import Recommender

NAMES = ("one", "other")
CLOSE = 1e-3
"""How far a score of a batch may be from that of another one."""


@dataclass
class Counts:
    """What became of the requests. Failed, mixed and lost must be 0."""

    requests: int
    flips: int
    flips_seen: int
    """times that an answer named another bundle than the one before, at least"""
    failed: int
    mixed: int
    lost: int
    told_apart: int
    """answers that only one of the two bundles gives"""
    p50_ms: float
    p99_ms: float
    longest_ms: float

    @property
    def sound(self) -> bool:
        return not (self.failed or self.mixed or self.lost) and self.flips_seen >= self.flips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs=2)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--flips", type=int, default=10)
    parser.add_argument("--connections", type=int, default=64)
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser), tempfile.TemporaryDirectory() as folder:
        counts = trial(arguments.bundles, Path(folder), arguments.seconds, arguments.flips, arguments.connections)
    row = asdict(counts)
    print(markdown(list(row), [[f"{value:,.0f}" for value in row.values()]]))
    about = {"connections": arguments.connections, "seconds": arguments.seconds}
    write_results("flips", {"machine": machine("cpu"), **about, **row}, arguments.out or UNTRACKED)
    sys.exit(0 if counts.sound else 1)


def trial(paths: Sequence[Path], folder: Path, seconds: float, flips: int, connections: int) -> Counts:
    """Flips evenly over the seconds, and what became of it; `folder` takes the bundles and the store."""
    bundles, store = folder / "bundles", f"lmdb:{folder / 'users'}"
    for name, path in zip(NAMES, paths, strict=True):
        shutil.copytree(path, bundles / name)
    known = [Bundle.open(bundles / name).catalogue().item_ids[1:] for name in NAMES]
    items = [item for item in known[0] if item in set(known[1])]
    flip(bundles, NAMES[0])
    with Server("--bundles", bundles, "--store", store) as server:
        with Callers(server.port, connections, items) as callers:
            for number in range(flips):
                time.sleep(seconds / (flips + 1))
                flip(bundles, NAMES[(number + 1) % 2])
            time.sleep(seconds / (flips + 1))
        seen = sum(a != b for a, b in zip(callers.bundle_ids, callers.bundle_ids[1:], strict=False))
    told_apart, mixed = compared([bundles / name for name in NAMES], callers.acknowledged)
    p50, p99 = (1e3 * float(np.percentile(callers.seconds, place)) for place in (50, 99))
    failed = sum(number for status, number in Counter(callers.statuses).items() if status != 200)
    lost = not_kept(bundles / NAMES[0], store, callers)
    longest = 1e3 * max(callers.seconds)
    return Counts(len(callers.statuses), flips, seen, failed, mixed, lost, told_apart, p50, p99, longest)


def compared(paths: Sequence[Path], acknowledged: dict[str, list[Answered]]) -> tuple[int, int]:
    """Of all answers: how many only one of the bundles gives, and how many not the bundle that they name."""
    recommenders = [Recommender.load(path) for path in paths]
    told_apart = mixed = 0
    for number in range(max(map(len, acknowledged.values()))):
        now = {user: answers[number] for user, answers in acknowledged.items() if number < len(answers)}
        events = [(user, answered.item) for user, answered in now.items()]
        lists = {
            each.manifest.bundle_id: each.observe_many(events, LIST, exclude_seen=False)[1] for each in recommenders
        }
        for user, answered in now.items():
            fits = [
                bundle_id
                for bundle_id, best in lists.items()
                if np.allclose([score for *_, score in best[user]], [score for _, score in answered.best], rtol=CLOSE)
            ]
            told_apart += len(fits) == 1
            mixed += len(answered.bundle_ids) != 1 or answered.bundle_ids[0] not in fits
    return told_apart, mixed


def not_kept(path: Path, store: str, callers: Callers) -> int:
    """Acknowledged events that a history lacks or has elsewhere, and events in it that were never sent."""
    lost = 0
    with Recommender.load(path, store=store) as recommender:
        for user, answers in callers.acknowledged.items():
            items = [answered.item for answered in answers]
            (history,) = recommender.store.history([user])
            kept = history or []
            lost += abs(len(kept) - len(items)) + sum(a != b for a, b in zip(kept, items, strict=False))
    return lost


if __name__ == "__main__":
    main()
