"""Folders that appear whole or not at all: written beside their place, then moved there in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks: nothing that is left is recognised there
    fcntl = None  # type: ignore[assignment]

LOCK = "deployrec.lock"
REPLACED = "replaced"
_AT_FDCWD = -100
_NOREPLACE, _EXCHANGE = 1, 2


@contextmanager
def staging(place: Path) -> Iterator[Path]:
    """A hidden, empty folder of the name `place`, beside it, that is gone afterwards whatever happens.

    Its holder is known by a lock that the system drops when the process ends. What a killed one has left is cleared
    away first, and a folder that it had set aside to replace goes back.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    recover(place)
    outer, lock = _locked(place)
    try:
        inner = outer / place.name
        inner.mkdir()
        yield inner
    finally:
        _settle(outer, place)
        os.close(lock)


def recover(place: Path) -> None:
    """Clears away what killed processes have left beside `place`; what they had set aside stands again at `place`."""
    for outer in place.parent.glob(_glob_of(place)):
        lock = _lock(outer)
        if lock is None:
            continue
        try:
            _settle(outer, place)
        finally:
            os.close(lock)


def place_new(folder: Path, place: Path) -> None:
    """Moves a folder of `staging` to `place`; raises FileExistsError where something is."""
    _sync(folder)
    _rename_to_new(folder, place)
    _sync_folder(place.parent)


def place_instead(folder: Path, place: Path) -> None:
    """Moves a folder of `staging` to `place`, instead of the folder there: at any moment one of the two stands.

    Raises FileNotFoundError where none is. Where the file system cannot exchange two names in one step, a kill
    between the two that it takes leaves `place` empty until the next `recover`, which puts the old folder back.
    """
    _sync(folder)
    try:
        _renameat2(folder, place, _EXCHANGE)
    except NotImplementedError:
        place.rename(folder.parent / REPLACED)
        _rename_to_new(folder, place)
    _sync_folder(place.parent)


def _prefix(place: Path) -> str:
    return f".{place.name}.writing-"


def _glob_of(place: Path) -> str:
    """The staging folders of `place`, whatever its name holds."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in _prefix(place)) + "*"


def _locked(place: Path) -> tuple[Path, int]:
    """A new folder beside `place`, and the open lock in it."""
    while True:
        outer = Path(tempfile.mkdtemp(prefix=_prefix(place), dir=place.parent))
        with suppress(FileNotFoundError, BlockingIOError):
            lock = os.open(outer / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if fcntl is not None:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), os.stat(outer / LOCK)):
                    return outer, lock
            except OSError:
                os.close(lock)
                raise
            os.close(lock)
        # Another process has taken it for one that was left, before it was locked.


def _lock(outer: Path) -> int | None:
    """The open lock of a staging folder that nobody holds; None for one in use and for a folder of somebody else's."""
    try:
        lock = os.open(outer / LOCK, os.O_RDWR)
    except FileNotFoundError:
        with suppress(OSError):  # killed before it was locked, or after all but the folder itself was cleared away
            outer.rmdir()
        return None
    except OSError:
        return None
    try:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _settle(outer: Path, place: Path) -> None:
    """Puts back what was set aside and not replaced, then removes a staging folder, its lock last: a kill on the way
    leaves what the next `recover` knows again."""
    with suppress(OSError):  # nothing was set aside, or another stands there
        _rename_to_new(outer / REPLACED, place)
    for path in outer.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        (outer / LOCK).unlink()
        outer.rmdir()


def _rename_to_new(source: Path, target: Path) -> None:
    try:
        _renameat2(source, target, _NOREPLACE)
    except NotImplementedError:
        if target.exists() or target.is_symlink():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        source.rename(target)  # which replaces nothing but an empty folder, should one have appeared just now


def _renameat2(source: Path, target: Path, flags: int) -> None:
    """Linux's renameat2(2); raises NotImplementedError where the system or the file system has none."""
    if _RENAMEAT2 is None:
        raise NotImplementedError
    if _RENAMEAT2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) != 0:
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EINVAL):
            raise NotImplementedError
        raise OSError(number, os.strerror(number), str(target))


def _find_renameat2() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # musl before 1.2, glibc before 2.28
        return None


_RENAMEAT2 = _find_renameat2()


def _sync(folder: Path) -> None:
    """Brings every file of a folder to the disk: a power cut after the move leaves no empty one behind its name."""
    for path in [*folder.rglob("*"), folder]:
        _sync_folder(path)


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
