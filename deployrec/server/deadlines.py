"""One length of time for many awaits at once, watched by one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class Deadlines:
    """`asyncio.timeout` of always the same seconds, for a sixth of its time: a request costs an entry, not a timer."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._due: dict[asyncio.Task[Any] | None, float] = {}
        """of the tasks that wait, the earliest first"""
        self._late: set[asyncio.Task[Any] | None] = set()
        self._watched = False

    async def wait(self, awaited: Awaitable[Answer]) -> Answer:
        """What it answers; raises TimeoutError once the seconds are over."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        self._due[task] = loop.time() + self.seconds
        if not self._watched:
            self._watched = True
            loop.call_later(self.seconds, self._look, loop)
        try:
            return await awaited
        except asyncio.CancelledError:
            if task is not None and task in self._late and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            del self._due[task]
            self._late.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends the waits that are over, and looks again when the next one is."""
        now = loop.time()
        for task, due in self._due.items():
            if task in self._late:
                continue
            if due > now:
                loop.call_at(due, self._look, loop)
                return
            assert task is not None
            self._late.add(task)
            task.cancel()
        self._watched = False
