"""Forking a process that serves: the child starts from whole records, or says in one line that it cannot serve."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol

from deployrec.errors import ConfigError


class Serving(Protocol):
    """Something with a lock around every call, whose backend may or may not run on in a forked child."""

    _lock: Any

    @property
    def forkable(self) -> bool: ...


class Stranded:
    """In the place of a lock, in a child whose backend stayed with the parent: threads and a GPU do not fork."""

    def __enter__(self) -> None:
        raise ConfigError(
            "expected the process that loaded the bundle; got a child forked from it, without the parent's threads; "
            "load the bundle in the child"
        )

    def __exit__(self, *_: object) -> None:
        """Never reached: entering raises."""


_serving: weakref.WeakSet[Any] = weakref.WeakSet()
_held: list[Any] = []


def watch(serving: Serving) -> None:
    """Keeps a call that is under way in another thread from being torn in two by a fork: the fork waits for its end."""
    _serving.add(serving)


def _before() -> None:
    for serving in list(_serving):
        serving._lock.acquire()
        _held.append(serving)


def _after_in_parent() -> None:
    while _held:
        _held.pop()._lock.release()


def _after_in_child() -> None:
    while _held:
        serving = _held.pop()
        if serving.forkable:
            serving._lock = threading.RLock()
        else:
            serving._lock = Stranded()
            _serving.discard(serving)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
