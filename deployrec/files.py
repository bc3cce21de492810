"""Bytes on disk: canonical JSON, digests, and files that appear whole or not at all."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from deployrec.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows has no such locks: nothing is locked there
    fcntl = None  # type: ignore[assignment]


TEMPORARY = ".tmp"


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: sorted keys, two spaces, a final newline. NaN and infinity raise ValueError."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256_json(value: Any) -> str:
    """Hex digest of the canonical text of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: str | Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_regular(path: str | Path) -> FileIO:
    """Opens a file for reading, unbuffered; raises OSError for anything but a regular one, and waits for nobody.

    A FIFO without a writer would stop `open`, and a device such as /dev/zero never ends.
    """
    file = FileIO(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return file


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a temporary neighbour of `path` for writing and renames it to `path` once the block has ended well.

    A file that is there keeps its mode; a link stays one, and what it leads to is replaced. What a killed process has
    left beside `path` is cleared away first: nobody holds its lock any more.
    """
    path = Path(os.path.realpath(path))
    _clear_left(path)
    temporary, handle, lock = _locked_temporary(path)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; a bundle is read by other accounts too.
        os.chmod(temporary, stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Writes the whole file at once: after a crash there is the old content or the new, never a part."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def exclusive(path: str | Path) -> Iterator[None]:
    """Holds a lock on the file `path`, made for it and removed afterwards; BlockingIOError where another holds it.

    The system drops the lock when its process ends, in whatever way: one that was killed blocks nobody.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            Path(path).unlink(missing_ok=True)
    finally:
        os.close(handle)


def check_writable(path: str | Path, option: str) -> None:
    """Raises ConfigError if nothing can be written to the file or folder `path`: asked before long work.

    `option` is what the caller gave it with, such as "--out".
    """
    path = Path(path)
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if there != path and not there.is_dir():
        reason = f"{there}, which is no folder"
    elif not os.access(there, os.W_OK | (os.X_OK if there.is_dir() else 0)):
        reason = f"{there}, which may not be written to"
    else:
        return
    raise ConfigError(f"expected to write {path}; got {reason}; pass another {option}")


def check_writable_file(path: str | Path, option: str) -> None:
    """Like `check_writable`, for what must not be a folder."""
    if Path(path).is_dir():
        raise ConfigError(f"expected a file to write; got the folder {path}; pass a file's name with {option}")
    check_writable(path, option)


def first_line(error: BaseException) -> str:
    """An exception's text as part of a one-line message."""
    return str(error).partition("\n")[0] or type(error).__name__


def _locked_temporary(path: Path) -> tuple[str, int, int | None]:
    """A new neighbour of `path` open for writing, and the lock that says that somebody does."""
    while True:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent)
        if fcntl is None:
            return temporary, handle, None
        lock = os.open(temporary, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(temporary):
                return temporary, handle, lock
        except BlockingIOError:
            pass  # taken for a killed process's, before it was locked
        os.close(lock)
        os.close(handle)


def _clear_left(path: Path) -> None:
    """Removes the temporary neighbours of `path` that nobody writes any more."""
    if fcntl is None:
        return
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{TEMPORARY}"):
        try:
            lock = os.open(left, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)
        except OSError:
            continue
        finally:
            os.close(lock)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
