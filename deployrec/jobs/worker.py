"""One process of a job over many users: it opens bundle and store by itself, and encodes groups of users."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from deployrec.bundle.bundle import Bundle
from deployrec.runtime.added import check_catalogue
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.durable import DurableStore, open_database
from deployrec.runtime.ranking import Ranking
from deployrec.runtime.stores.base import Layout
from deployrec.runtime.updates import Updates, Wanted

Group = list[str]
Lists = list[tuple[str, list[str], list[float]]]
"""Of each user with events: the best items' own ids, and their scores."""


@dataclass(frozen=True)
class Job:
    """What every process of a job needs to know; k: items of the lists that are wanted too, 0 for none; now: the moment
    that they are for, as `Wanted` has it."""

    bundle: Path
    address: str
    backend: str = "onnxruntime"
    k: int = 0
    now: int | None = None


class Done(NamedTuple):
    """What became of a group: its users, how many of them were behind, and their lists where they are wanted."""

    users: int
    encoded: int
    lists: Lists


class Worker:
    """Encodes groups of users."""

    def __init__(self, job: Job) -> None:
        bundle = Bundle.open(job.bundle)
        catalogue = bundle.catalogue()
        store = DurableStore(open_database(job.address, create=True), Layout.of(bundle.manifest))
        check_catalogue(bundle.manifest, store)
        backend = load_backend(job.backend, bundle)
        self.updates = Updates(
            bundle.manifest, backend, store, catalogue.rows, Ranking(bundle, backend, bundle.retired(catalogue))
        )
        self.ids = catalogue.item_ids
        k = min(job.k, bundle.manifest.num_items)
        self.wanted = Wanted(k, bundle.manifest.exclude_seen, now=job.now) if k else None

    def encode(self, users: Group) -> Done:
        caught = self.updates.catch_up(users)
        lists: Lists = []
        for user, best in self.updates.lists(users, self.wanted) if self.wanted else ():
            if best is not None:
                rows = [row for row in best[0] if row]
                lists.append((user, [self.ids[row] for row in rows], best[1][: len(rows)]))
        return Done(len(users), caught, lists)


Run = Callable[[Job, Iterable[Group]], Iterator[Done]]
"""Does a job's groups, in their order."""
