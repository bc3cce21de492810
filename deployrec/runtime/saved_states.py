"""The file of stored users: arrays and JSON texts in one .npz, read without unpickling."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deployrec.errors import DataError
from deployrec.files import atomic_file, first_line

TEXTS = ("bundle_id", "users", "last_event_id")


@dataclass(frozen=True)
class SavedStates:
    """Users in the order of the arrays' first axis, and the bundle whose model made the states."""

    bundle_id: str
    users: list[str]
    last_event_id: list[str | None]
    arrays: dict[str, np.ndarray]

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
    def read(cls, path: str | Path) -> SavedStates:
        """Raises DataError for a file that `write` did not write."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            bundle_id, users, last_event_id = (json.loads(arrays.pop(name).tobytes()) for name in TEXTS)
            if not isinstance(bundle_id, str) or len(set(users)) != len(users) or len(last_event_id) != len(users):
                raise ValueError("users that do not match")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            got = "no such file" if isinstance(error, FileNotFoundError) else f"a broken file ({first_line(error)})"
            raise DataError(f"expected saved states in {path}; got {got}; name a file that save_states wrote") from None
        return cls(bundle_id, users, last_event_id, arrays)
