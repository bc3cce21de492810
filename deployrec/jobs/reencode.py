"""Everybody's state under a new bundle, from the histories that a store keeps, while other processes serve.

Users go in groups of one size in the store's own order; a group is one read, a few runs of the encode graph and one
write, which happens whole or not at all. So the job takes up where it was killed, doing nothing twice, and ends in the
same bits whatever broke it off. Events that arrive meanwhile are in the histories: whoever reads a record next reads
them too (see `Rows.unread`), the job or the bundle that serves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from deployrec.bundle.bundle import Bundle
from deployrec.errors import ConfigError
from deployrec.files import atomic_file, check_writable_file
from deployrec.jobs.worker import Done, Group, Job, Lists, Run, Worker
from deployrec.progress import Progress, silent
from deployrec.runtime.clock import Clock
from deployrec.runtime.durable import Database, History, open_database

GROUP = 1024
"""Users in memory at once, in each process."""


@dataclass(frozen=True)
class Counts:
    """users: with a history; encoded: those whose record was behind it, and is no more."""

    users: int
    encoded: int


def reencode(
    bundle: str | Path,
    store: str,
    data: Any = None,
    lists: str | Path | None = None,
    k: int = 10,
    backend: str = "onnxruntime",
    ray: str | None = None,
    progress: Progress = silent,
) -> Counts:
    """Encodes every user of the store under the bundle; also those who have records under other bundles.

    store: address of a durable store that keeps histories; data: an event log (see `load_dataset`) whose users get
    their histories from it unless the store has one already; lists: a Parquet file of each user's k best items, written
    whole in the end; ray: address of a Ray cluster, or "local" for one on this machine.
    Raises ConfigError for a store that keeps no histories, DataError for a broken log, BundleError for a broken bundle.
    """
    if k < 1:
        raise ConfigError(f"expected k of at least 1; got {k}; give a whole number")
    if lists is not None:
        check_writable_file(lists, "--lists")
        if not Path(lists).absolute().parent.is_dir():
            raise ConfigError(f"expected a folder for {lists}; got none; make it, or pass another --lists")
    Bundle.open(bundle)  # before a store is made for it
    database = open_database(store, create=True)
    if database.keeping.history == 0:
        raise ConfigError(f"expected a store that keeps histories; got {store}; leave history=0 out")
    if data is not None:
        _take_histories(database, data, progress)
    job, run = Job(Path(bundle), store, backend, k if lists else 0), here if ray is None else _on_ray(ray)
    total = database.num_histories()
    users = encoded = 0
    with _written(lists) as write:
        for done in run(job, _groups(database)):
            write(done.lists)
            users, encoded = users + done.users, encoded + done.encoded
            progress(users, max(users, total), f"encoding users ({encoded:,} were behind)")
    database.close()
    return Counts(users, encoded)


def here(job: Job, groups: Iterable[Group]) -> Iterator[Done]:
    """In this process."""
    return map(Worker(job).encode, groups)


def _on_ray(address: str) -> Run:
    from deployrec.jobs.on_ray import runner

    return runner(address)


def _groups(database: Database) -> Iterator[Group]:
    """All users with a history, GROUP at a time."""
    users = chain.from_iterable(database.users_with_histories())
    while group := list(islice(users, GROUP)):
        yield group


def _take_histories(database: Database, data: Any, progress: Progress) -> None:
    """Puts the log's events into the store as histories of users who have none."""
    from deployrec.data import load_dataset

    dataset = load_dataset(data, progress=progress)
    items = dataset.items["item_id"].to_list()
    for start in range(0, len(dataset.user_ids), GROUP):
        users = dataset.user_ids[start : start + GROUP]
        new = [place for place, held in enumerate(database.histories(users), start) if not held.total]
        histories = [_history(dataset, place, items) for place in new]
        database.put_histories([dataset.user_ids[place] for place in new], histories)


def _history(dataset: Any, place: int, items: Sequence[str]) -> History:
    begin, end = dataset.offsets[place : place + 2]
    rows = dataset.events[begin:end].tolist()
    times = () if not dataset.time_unit else list(map(Clock(dataset.time_unit).kept, dataset.times[begin:end].tolist()))
    return History([items[row - 1] for row in rows], len(rows), time.time(), times)


@contextmanager
def _written(path: str | Path | None) -> Iterator[Callable[[Lists], None]]:
    """Takes lists into a Parquet file with the columns user, items and scores; into nothing where no path is given."""
    if path is None:
        yield lambda lists: None
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("user", pa.string()), ("items", pa.list_(pa.string())), ("scores", pa.list_(pa.float32()))])

    def write(lists: Lists) -> None:
        if lists:
            writer.write_batch(pa.record_batch([list(column) for column in zip(*lists, strict=True)], schema=schema))

    with atomic_file(path) as file, pq.ParquetWriter(file, schema) as writer:
        yield write
