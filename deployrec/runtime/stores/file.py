"""Users' records in one file, written and read whole: snapshots of any store, and a store that is memory in between.

The file is an .npz, uncompressed and read without unpickling: a JSON text "states", and of each block of users, under
"0/", "1/" and so on, the columns of their records, lists end to end beside their lengths.
"""

from __future__ import annotations

import json
import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike

from deployrec.errors import ConfigError, DataError, StaleStateError
from deployrec.files import atomic_file, check_writable, check_writable_file, first_line
from deployrec.runtime.clock import Clock
from deployrec.runtime.events import MOST_SEQUENCE, id_text
from deployrec.runtime.stores.base import NUM_ITEMS, Layout, Rows, Store
from deployrec.runtime.stores.memory import MemoryStore

MAGIC = b"PK\3\4"
STATES, FORMAT = "states", 2
TEXTS = ("users", "last_event_id", "sequences")
RAGGED: dict[str, DTypeLike] = {"seen": np.int32, "event_hashes": np.uint64}
BLOCK_USERS, BLOCK_BYTES = 4096, 4 * 2**20
"""A block of the file holds no more users, and no more bytes of the records' fixed parts."""


def load(layout: Layout, address: str) -> FileStore:
    """Opens "file:PATH"; the file may not be there yet. Raises DataError for a broken one, StaleStateError for one of
    another bundle, ConfigError for a place where `close` could not write it."""
    if not address:
        raise ConfigError("expected file:PATH; got no path; name the file that holds the users' states")
    path = Path(address)
    if not path.parent.is_dir():
        raise ConfigError(f"expected a folder for {path}; got none; make {path.parent}, or name another file")
    check_writable_file(path, "file:PATH")
    check_writable(path.parent, "file:PATH")
    return FileStore(layout, path)


class FileStore(MemoryStore):
    """Memory that is read from a file when it is opened and written back by `save` and `close`.

    What came after the last of them is lost with the process. The file belongs to one process at a time.
    """

    def __init__(self, layout: Layout, path: Path) -> None:
        super().__init__(layout)
        self.path = path
        if path.exists():
            saved = Snapshot.read(path)
            rows = saved.rows(layout)
            if saved.users:
                self.write(saved.users, rows)
            self.set_meta(saved.meta)

    def save(self) -> None:
        """Writes the file whole or not at all; raises DataError if the disk refuses."""
        write_states(self.path, self.layout, self.meta(), blocks_of(self))

    def close(self) -> None:
        self.save()


def blocks_of(store: Store, read: Callable[[Sequence[str]], Rows] | None = None) -> Iterator[tuple[list[str], Rows]]:
    """All users and copies of their records, as `read` answers (default: the store's), block by block; between two
    blocks the store may change."""
    size = max(1, min(BLOCK_USERS, BLOCK_BYTES // store.layout.record_bytes))
    users = store.users()
    while part := list(islice(users, size)):
        rows = (read or store.read)(part)
        there = np.flatnonzero(rows.version).tolist()
        yield [part[place] for place in there], rows.take(there)


def write_states(
    path: str | Path, layout: Layout, meta: dict[str, Any], blocks: Iterable[tuple[Sequence[str], Rows]]
) -> None:
    """Writes blocks of users and records, whole or not at all; raises DataError if the disk refuses."""
    number, head = 0, {"format": FORMAT, "state_id": layout.state_id, "unit": layout.unit}
    try:
        with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for users, rows in blocks:
                for name, array in _columns(users, rows).items():
                    _add(archive, f"{number}/{name}", array)
                number += 1
            _add(archive, STATES, _text({**head, "blocks": number, "meta": meta}))
    except OSError as error:
        raise DataError(f"expected to write {path}; got {error.strerror}; free space or name another file") from None


@dataclass(frozen=True)
class Snapshot:
    """What `write_states` wrote: all users, and each block's number of them and columns."""

    state_id: str
    unit: str
    """of last times, as `Layout` has it"""
    meta: dict[str, Any]
    users: list[str]
    blocks: list[Block]

    @classmethod
    def read(cls, path: str | Path) -> Snapshot:
        """Raises DataError for a file that `write_states` did not write."""
        with _in_one_line(path), _opened(path) as file, zipfile.ZipFile(file) as archive:
            if file.seek(0) or file.read(len(MAGIC)) != MAGIC:
                raise ValueError("no .npz")
            members = archive.infolist()
            # Members that are compressed, or that share their bytes, can be a thousand times as large as the file.
            if sum(member.file_size for member in members) > os.fstat(file.fileno()).st_size:
                raise ValueError("members larger than the file")
            names = {member.filename.removesuffix(".npy") for member in members}
            head = _json(_array(archive, STATES))
            if head.get("format") != FORMAT:
                raise ValueError(f"format {head.get('format', 1)}, of another deployrec")
            if not isinstance(head["state_id"], str) or not isinstance(head["meta"], dict):
                raise ValueError("no state_id or no meta")
            Clock(head["unit"])
            blocks = [Block.read(archive, number, names) for number in range(head["blocks"])]
            users = [user for block in blocks for user in block.users]
            if len(set(users)) != len(users):
                raise ValueError("a user twice")
        return cls(head["state_id"], head["unit"], head["meta"], users, blocks)

    def rows(self, layout: Layout) -> Rows:
        """The records as those of new users; raises StaleStateError for another bundle's."""
        if self.state_id != layout.state_id:
            raise StaleStateError(
                f"expected states of id {layout.state_id[:12]} (see `deployrec info`); got {self.state_id[:12]}; "
                "load them with a bundle of that id, or give the users' histories to load_states to encode them again"
            )
        items = self.meta.get(NUM_ITEMS)
        if isinstance(items, int) and items > layout.num_items:
            raise StaleStateError(
                f"expected records of at most {layout.num_items:,} items; got those of further items; load them with "
                "the bundle that has these"
            )
        return self._together(layout, Block.fill)

    def events(self, layout: Layout) -> Rows:
        """New users who know which events were applied, without the states: their histories are to be encoded."""
        rows = self._together(layout, Block.fill_events)
        if self.unit != layout.unit:
            own, saved = Clock(layout.unit), Clock(self.unit)
            rows.last_time[...] = [own.of_kept(saved.kept(moment)) for moment in rows.last_time.tolist()]
        return rows

    def _together(self, layout: Layout, fill: Callable[[Block, Layout, Rows], None]) -> Rows:
        rows = layout.zeros(len(self.users))
        rows.version[...] = 1
        start = 0
        for block in self.blocks:
            part = slice(start, start + len(block.users))
            into = Rows(
                rows.fixed[part],
                rows.seen[part],
                rows.event_hashes[part],
                rows.last_event_id[part],
                rows.sequences[part],
            )
            fill(block, layout, into)
            rows.seen[part], rows.event_hashes[part] = into.seen, into.event_hashes
            rows.last_event_id[part], rows.sequences[part] = into.last_event_id, into.sequences
            start = part.stop
        return rows


@dataclass(frozen=True)
class Block:
    """Some users of a file, and the columns of their records."""

    users: list[str]
    last_event_id: list[str | None]
    sequences: list[dict[str, int]]
    arrays: dict[str, np.ndarray]

    @classmethod
    def read(cls, archive: zipfile.ZipFile, number: int, names: set[str]) -> Block:
        prefix = f"{number}/"
        arrays = {name.removeprefix(prefix): _array(archive, name) for name in names if name.startswith(prefix)}
        users, last_event_id, sequences = (_json(arrays.pop(name)) for name in TEXTS)
        if not len(users) == len(last_event_id) == len(sequences):
            raise ValueError("texts of different numbers of users")
        for text in (*users, *(event_id for event_id in last_event_id if event_id is not None)):
            if not isinstance(text, str) or id_text(text, "an id") != text:
                raise ValueError("ids that are no text")
        for marks in sequences:
            for source, mark in marks.items():
                if source:
                    id_text(source, "a source")
                if type(mark) is not int or not 0 <= mark <= MOST_SEQUENCE:
                    raise ValueError("sequences that are no whole numbers")
        return cls(users, last_event_id, sequences, arrays)

    def fill(self, layout: Layout, rows: Rows) -> None:
        """Puts the records into the rows; raises DataError for what no record holds."""
        self.fill_events(layout, rows)
        rows.num_events[...] = self._whole("num_events", rows.num_events.shape)
        rows.seen = self._ragged("seen", 1, layout.num_items)
        if np.any(self.arrays["num_seen"] > rows.num_events):
            raise DataError("expected no more seen items than events; got more; save the states again")
        rows.window[...] = self._whole("window", rows.window.shape, 0, layout.num_items, np.int32)
        rows.user[...] = self._finite("user", rows.user.shape)
        for name, tensor in rows.state.items():
            tensor[...] = self._finite(f"state.{name}", tensor.shape)

    def fill_events(self, layout: Layout, rows: Rows) -> None:
        """Puts in which events were applied."""
        rows.last_time[...] = self._checked("last_time", rows.last_time.shape, np.int64)
        rows.event_hashes = self._ragged("event_hashes")
        rows.last_event_id, rows.sequences = list(self.last_event_id), list(self.sequences)

    def _ragged(self, name: str, least: int = 0, most: int | None = None) -> list[bytes]:
        lengths = self._whole(f"num_{name}", (len(self.users),)).tolist()
        shape, dtype = (sum(lengths),), RAGGED[name]
        values = self._checked(name, shape, dtype) if most is None else self._whole(name, shape, least, most, dtype)
        raw, size = values.tobytes(), values.itemsize
        parts = zip(lengths, accumulate(lengths), strict=True)
        return [raw[size * (end - length) : size * end] for length, end in parts]

    def _whole(
        self,
        name: str,
        shape: tuple[int, ...],
        least: int = 0,
        most: int = 2**63 - 1,
        dtype: DTypeLike = np.int64,
    ) -> np.ndarray:
        values = self._checked(name, shape, dtype)
        if values.size and (values.min() < least or values.max() > most):
            raise DataError(f"expected '{name}' from {least} to {most}; got other values; save the states again")
        return values

    def _finite(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = self._checked(name, shape, np.float32)
        if not np.isfinite(values).all():
            raise DataError(f"expected finite numbers in '{name}'; got others; save the states again")
        return values

    def _checked(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        got = self.arrays.get(name)
        if got is None or got.dtype != dtype or got.shape != shape:
            found = "nothing" if got is None else f"{got.dtype} {list(got.shape)}"
            raise DataError(f"expected '{name}' as {np.dtype(dtype)} {list(shape)}; got {found}; save the states again")
        return got


def _columns(users: Sequence[str], rows: Rows) -> dict[str, np.ndarray]:
    """The arrays of one block of the file."""
    columns = {
        "users": _text(list(users)),
        "last_event_id": _text(rows.last_event_id),
        "sequences": _text(list(map(dict, rows.sequences))),
        "num_events": rows.num_events,
        "last_time": rows.last_time,
        "user": rows.user,
        "window": rows.window,
        **{f"state.{name}": tensor for name, tensor in rows.state.items()},
    }
    for name in RAGGED:
        values: list[bytes] = getattr(rows, name)
        columns[name] = np.frombuffer(b"".join(values), RAGGED[name])
        columns[f"num_{name}"] = np.array(list(map(len, values)), np.int64) // columns[name].itemsize
    return columns


def _add(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array as it was added; its header is believed only where the bytes are there."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError("compressed members")
    with archive.open(info) as member:
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError("an array of another version")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        content = member.read()
    if fortran or dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError("an array of another kind")
    return np.frombuffer(content, dtype).reshape(shape)


def _text(value: object) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def _json(array: np.ndarray) -> Any:
    return json.loads(array.tobytes(), parse_constant=_no_number)


def _no_number(name: str) -> None:
    raise ValueError(f"{name}, which is no JSON")


def _opened(path: str | Path) -> BinaryIO:
    """The file for reading; anything but a regular one, which may never end or never begin, is an OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("no regular file")
    return open(path, "rb")


@contextmanager
def _in_one_line(path: str | Path) -> Iterator[None]:
    """Whatever zipfile, numpy and json raise over a broken file as one DataError."""
    try:
        yield
    except FileNotFoundError:
        got = "no such file"
    except Exception as error:
        got = f"a broken file ({first_line(error)})"
    else:
        return
    raise DataError(f"expected saved states in {path}; got {got}; name a file that save_states wrote")
