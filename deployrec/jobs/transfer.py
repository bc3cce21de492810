"""A store's records and histories as Parquet files, and back: to move, reshard and inspect users.

A folder holds `records-STATE_ID.parquet` of each state_id (its first 16 characters), with the columns user, version,
num_events, last_time, written, seen (item rows, the latest last), user_vector and record, the record's bytes as
`deployrec.runtime.records` describes them, and `histories.parquet` with user, total, written, items and times
(nanoseconds since 1970; an empty list where none is known). Of the records only `user` and `record` are read back: the
other columns are there to be looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from deployrec.errors import DataError
from deployrec.files import check_writable, first_line
from deployrec.folders import place_new, staging
from deployrec.progress import Progress, silent
from deployrec.runtime.durable import Database, History
from deployrec.runtime.events import NO_TIME, id_text
from deployrec.runtime.records import headers, unpack
from deployrec.runtime.stores.base import Layout

HISTORIES, RECORDS = "histories.parquet", "records-{}.parquet"
LAYOUT = b"deployrec.layout"
"""Where a file of records says whose they are, in its schema's metadata."""
BATCH = 1000
"""Users in memory at once."""
HISTORY_SCHEMA = pa.schema(
    [
        *(("user", pa.string()), ("total", pa.int64()), ("written", pa.float64()), ("items", pa.list_(pa.string()))),
        ("times", pa.list_(pa.int64())),
    ]
)
RECORD_FIELDS = [
    *(("user", pa.string()), ("version", pa.int64()), ("num_events", pa.int64()), ("last_time", pa.int64())),
    *(("written", pa.float64()), ("seen", pa.list_(pa.int32())), ("user_vector", pa.list_(pa.float32()))),
    ("record", pa.binary()),
]


@dataclass(frozen=True)
class Counts:
    """What was moved."""

    records: int
    histories: int


def export_store(database: Database, folder: Path, state_id: str | None = None, progress: Progress = silent) -> Counts:
    """Writes everything, or the records of one state_id and all histories, to a new folder; whole or not at all.

    Users written to meanwhile are there as they were at some moment of the export. Raises DataError where something is
    at `folder`.
    """
    if folder.exists() or folder.is_symlink():
        raise DataError(f"expected a new folder; got {folder}, which is there; name another one")
    check_writable(folder.resolve().parent, "FOLDER")
    layouts = [layout for layout in database.layouts() if state_id in (None, layout.state_id)]
    records = histories = 0
    with staging(folder) as staged:
        for number, layout in enumerate(layouts):
            progress(number, len(layouts) + 1, f"writing the records of {layout.state_id[:16]}")
            records += _write_records(database, layout, staged / RECORDS.format(layout.state_id[:16]))
        progress(len(layouts), len(layouts) + 1, "writing histories")
        with pq.ParquetWriter(staged / HISTORIES, HISTORY_SCHEMA) as writer:
            for users, found in database.scan_histories():
                columns = [users, *([getattr(history, name) for history in found] for name in HISTORY_SCHEMA.names[1:])]
                writer.write_batch(pa.record_batch(columns, schema=HISTORY_SCHEMA))
                histories += len(users)
        place_new(staged, folder)
    return Counts(records, histories)


def import_store(database: Database, folder: Path, replace: bool = False, progress: Progress = silent) -> Counts:
    """Puts what `export_store` wrote into a store, bit for bit; other users stay as they are.

    Everything is checked before anything is written. A user whose record or history is there and differs raises
    DataError, unless `replace`.
    """
    files = sorted(folder.glob(RECORDS.format("*")))
    if not files and not (folder / HISTORIES).is_file():
        raise DataError(f"expected a folder that `deployrec store export` wrote; got {folder}; name that folder")
    layouts = [_layout(file) for file in files]
    steps = 2 * (len(files) + 1)
    for number, (file, layout) in enumerate(zip(files, layouts, strict=True)):
        progress(number, steps, f"checking {file.name}")
        known = any(one.state_id == layout.state_id for one in database.layouts())
        for users, values in _records(file):
            headers(layout, users, values)
            if known and not replace:
                _refuse_others(users, values, database.get(layout.state_id, users), "record")
    progress(len(files), steps, f"checking {HISTORIES}")
    for users, histories in _histories(folder / HISTORIES):
        if not replace:
            there = [None if not held.items else held for held in database.histories(users)]
            _refuse_others(users, histories, there, "history")
    moved = dict.fromkeys(("records", "histories"), 0)
    for number, (file, layout) in enumerate(zip(files, layouts, strict=True)):
        progress(len(files) + 1 + number, steps, f"reading {file.name}")
        database.add(layout)
        for users, values in _records(file):
            database.put(layout.state_id, users, values)
            moved["records"] += len(users)
    progress(steps - 1, steps, f"reading {HISTORIES}")
    for users, histories in _histories(folder / HISTORIES):
        database.put_histories(users, histories)
        moved["histories"] += len(users)
    return Counts(**moved)


def _write_records(database: Database, layout: Layout, path: Path) -> int:
    schema = pa.schema(RECORD_FIELDS, metadata={LAYOUT: json.dumps(layout.to_dict())})
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for users, values in database.scan(layout.state_id):
            rows, (heads, _) = unpack(layout, users, values), headers(layout, users, values)
            last_time = pa.array(rows.last_time, mask=rows.last_time == NO_TIME)
            counters = [rows.version, rows.num_events, last_time, heads["written"].copy()]
            seen = [np.frombuffer(own, np.int32) for own in rows.seen]
            columns: list[Any] = [users, *map(pa.array, counters), seen, list(rows.user), values]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            count += len(users)
    return count


def _layout(file: Path) -> Layout:
    """Whose records a file holds; raises DataError for any other file."""
    metadata = _opened(file).schema_arrow.metadata or {}
    try:
        return Layout.from_dict(json.loads(metadata[LAYOUT]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _broken(file, f"{type(error).__name__}: {first_line(error)}") from None


def _records(file: Path) -> Iterator[tuple[list[str], list[bytes]]]:
    return ((users, values) for users, values in _columns(file, "user", "record"))


def _histories(file: Path) -> Iterator[tuple[list[str], list[History]]]:
    """The histories of a file that may be missing."""
    if not file.is_file():
        return
    for users, totals, written, items, times in _columns(file, *HISTORY_SCHEMA.names):
        for line, moments in zip(items, times, strict=True):
            for item in line:
                id_text(item, "an item id")
            if moments and (len(moments) != len(line) or None in moments):
                raise _broken(file, f"{len(moments)} times of {len(line)} items")
        rows = zip(items, totals, written, times, strict=True)
        yield users, [History(own, total, at, moments or ()) for own, total, at, moments in rows]


def _columns(file: Path, *names: str) -> Iterator[tuple[list[Any], ...]]:
    """Columns of a file, BATCH rows at a time, without gaps; users are ids."""
    source = _opened(file)
    if missing := [name for name in names if name not in source.schema_arrow.names]:
        raise _broken(file, f"no column '{missing[0]}'")
    try:
        for batch in source.iter_batches(BATCH, columns=list(names)):
            columns = tuple(batch.column(name).to_pylist() for name in names)
            if any(value is None for column in columns for value in column):
                raise _broken(file, "an empty cell")
            for user in columns[0]:
                id_text(user, "a user id")
            yield columns
    except (pa.ArrowException, OSError) as error:
        raise _broken(file, first_line(error)) from None


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise _broken(file, first_line(error)) from None


def _broken(file: Path, got: str) -> DataError:
    return DataError(f"expected a file that `deployrec store export` wrote; got {file}: {got}; export it again")


def _refuse_others(users: Sequence[str], new: Sequence[Any], there: Iterable[Any], what: str) -> None:
    for user, one, other in zip(users, new, there, strict=True):
        if other is not None and one != other:
            raise DataError(
                f"expected users who are new to the store; got '{user}', whose {what} there is another; "
                "import with --replace, or forget the user"
            )
