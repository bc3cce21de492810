"""Users' records in one file, read and written whole: snapshots of any store, and a store that is memory in between.

The file is an .npz of arrays and JSON texts, read without unpickling.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from deployrec.errors import ConfigError, DataError, StaleStateError
from deployrec.files import atomic_file, check_writable, check_writable_file, first_line
from deployrec.runtime.stores.base import Layout, Rows, Store
from deployrec.runtime.stores.memory import MemoryStore

TEXTS = ("bundle_id", "users", "last_event_id", "sequences", "meta")
RAGGED: dict[str, DTypeLike] = {"seen": np.int32, "event_hashes": np.uint64}


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
        Snapshot.of(self).write(self.path)

    def close(self) -> None:
        self.save()


@dataclass(frozen=True)
class Snapshot:
    """All records of a store: users in the order of the arrays, ragged fields end to end beside their lengths."""

    bundle_id: str
    users: list[str]
    last_event_id: list[str | None]
    sequences: list[dict[str, int]]
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @classmethod
    def of(cls, store: Store) -> Snapshot:
        users = list(store.users())
        rows = store.read(users)
        arrays = {
            "num_events": rows.num_events,
            "last_time": rows.last_time,
            "user": rows.user,
            "window": rows.window,
            **{f"state.{name}": tensor for name, tensor in rows.state.items()},
        }
        for name in RAGGED:
            values: list[bytes] = getattr(rows, name)
            arrays[name] = np.frombuffer(b"".join(values), RAGGED[name])
            arrays[f"num_{name}"] = np.array(list(map(len, values)), np.int64) // arrays[name].itemsize
        sequences = [dict(marks) for marks in rows.sequences]
        return cls(store.layout.bundle_id, users, rows.last_event_id, sequences, store.meta(), arrays)

    def rows(self, layout: Layout) -> Rows:
        """The records as those of new users; raises StaleStateError for another bundle's."""
        if self.bundle_id != layout.bundle_id:
            raise StaleStateError(
                f"expected states of bundle {layout.bundle_id[:12]}; got states of bundle {self.bundle_id[:12]}; "
                "load them with that bundle, or give the users' histories to load_states to encode them again"
            )
        rows = self.events(layout)
        rows.num_events[...] = self._whole("num_events", (len(self.users),))
        rows.seen = self._ragged("seen", layout.num_items)
        rows.window[...] = self._whole("window", rows.window.shape, layout.num_items, np.int32)
        rows.user[...] = self._finite("user", rows.user.shape)
        for name, tensor in rows.state.items():
            tensor[...] = self._finite(f"state.{name}", tensor.shape)
        return rows

    def events(self, layout: Layout) -> Rows:
        """New users who know which events were applied, without the states: their histories are to be encoded."""
        rows = layout.zeros(len(self.users))
        rows.version[...] = 1
        rows.last_time[...] = self._checked("last_time", (len(self.users),), np.float64)
        rows.last_event_id, rows.event_hashes = list(self.last_event_id), self._ragged("event_hashes")
        rows.sequences = list(self.sequences)
        return rows

    def write(self, path: str | Path) -> None:
        """Writes the file whole or not at all; raises DataError if the disk refuses."""
        texts: dict[str, Any] = {
            name: np.frombuffer(json.dumps(getattr(self, name)).encode(), np.uint8) for name in TEXTS
        }
        try:
            with atomic_file(path) as file:
                np.savez(file, **(texts | self.arrays))
        except OSError as error:
            raise DataError(
                f"expected to write {path}; got {error.strerror}; free space or name another file"
            ) from None

    @classmethod
    def read(cls, path: str | Path) -> Snapshot:
        """Raises DataError for a file that `write` did not write."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            bundle_id, users, last_event_id, sequences, meta = (
                json.loads(arrays.pop(name).tobytes()) for name in TEXTS
            )
            if not isinstance(bundle_id, str) or not isinstance(meta, dict) or len(last_event_id) != len(users):
                raise ValueError("fields that do not match")
            if len(sequences) != len(users) or not all(map(_are_sequences, sequences)):
                raise ValueError("sequences that are no whole numbers by source")
            if len(set(users)) != len(users) or not all(isinstance(user, str) for user in users):
                raise ValueError("users that are not each a text of its own")
            if not all(event is None or isinstance(event, str) for event in last_event_id):
                raise ValueError("event ids that are no text")
        except (
            *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RecursionError, MemoryError),
            *(NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error),
        ) as error:
            got = "no such file" if isinstance(error, FileNotFoundError) else f"a broken file ({first_line(error)})"
            raise DataError(f"expected saved states in {path}; got {got}; name a file that save_states wrote") from None
        return cls(bundle_id, users, last_event_id, sequences, meta, arrays)

    def _ragged(self, name: str, most: int | None = None) -> list[bytes]:
        lengths = self._whole(f"num_{name}", (len(self.users),)).tolist()
        shape, dtype = (sum(lengths),), RAGGED[name]
        values = self._checked(name, shape, dtype) if most is None else self._whole(name, shape, most, dtype)
        raw, size = values.tobytes(), values.itemsize
        return [
            raw[size * (end - length) : size * end] for length, end in zip(lengths, accumulate(lengths), strict=True)
        ]

    def _whole(
        self, name: str, shape: tuple[int, ...], most: int = 2**63 - 1, dtype: DTypeLike = np.int64
    ) -> np.ndarray:
        values = self._checked(name, shape, dtype)
        if values.size and (values.min() < 0 or values.max() > most):
            raise DataError(f"expected '{name}' from 0 to {most}; got other values; save the states again")
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


def _are_sequences(value: Any) -> bool:
    return isinstance(value, dict) and all(type(mark) is int and 0 <= mark < 2**63 for mark in value.values())
