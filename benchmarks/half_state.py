"""What a float16 state costs in answers: real users read event by event, each time stored in half the bytes.

    python -m benchmarks.half_state bundles/glintru --data ml-1m

Two stores in LMDB read the same events of a log, whose items are named anew by the bundle's; one rounds states to
float16 at every write. Prints the bytes of a record, the largest difference of a user vector, and how many lists of 10
are the same (items and order). Writes half_state.json.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from deployrec.data import load_dataset
from deployrec.runtime import Recommender
from deployrec.runtime.durable import DurableStore

K = 10


@dataclass(frozen=True)
class Row:
    events: int
    users: int
    bytes_whole: int
    bytes_half: int
    largest_difference: float
    """of a user vector's number"""
    same_lists: float
    """share"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--events", type=int, nargs="+", default=[20, 100, 200], help="of each user, when to compare")
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser), tempfile.TemporaryDirectory() as folder:
        rows = measure(arguments.bundle, arguments.data, arguments.users, arguments.events, folder)
    print(markdown(list(asdict(rows[0])), [[f"{value:.4g}" for value in asdict(row).values()] for row in rows]))
    write_results(
        "half_state", {"machine": machine("cpu"), "rows": [asdict(row) for row in rows]}, arguments.out or UNTRACKED
    )


def measure(bundle: Path, data: str, most: int, stops: list[int], folder: str) -> list[Row]:
    """A row for each number of events."""
    dataset = load_dataset(data)
    lengths = np.diff(dataset.offsets)
    chosen = np.flatnonzero(lengths >= max(stops))[:most]
    # Without a journal a state is rounded at every event, which is the most that it can be.
    addresses = (f"lmdb:{folder}/whole", f"lmdb:{folder}/half?float16=true&journal=0")
    both = [Recommender.load(bundle, store=address) for address in addresses]
    ids = both[0].catalogue.item_ids
    users, rows = [f"u{place}" for place in chosen.tolist()], []
    for event in range(max(stops)):
        items = dataset.events[dataset.offsets[chosen] + event] % (len(ids) - 1) + 1
        for recommender in both:
            recommender.observe_many([(user, ids[item]) for user, item in zip(users, items.tolist(), strict=True)])
        if event + 1 in stops:
            rows.append(compared(both, users, event + 1))
    return rows


def compared(both: list[Recommender], users: list[str], events: int) -> Row:
    whole, half = (recommender.store.read(users) for recommender in both)
    lists = [recommender.recommend_many(users, K) for recommender in both]
    same = [[one.item_id for one in lists[0][user]] == [one.item_id for one in lists[1][user]] for user in users]
    return Row(
        events,
        len(users),
        record_bytes(both[0], users[0]),
        record_bytes(both[1], users[0]),
        largest_difference=float(np.abs(whole.user - half.user).max()),
        same_lists=sum(same) / len(same),
    )


def record_bytes(recommender: Recommender, user: str) -> int:
    store = recommender.store
    assert isinstance(store, DurableStore)
    (value,) = store.database.get(store.layout.state_id, [user])
    return len(value or b"")


if __name__ == "__main__":
    main()
