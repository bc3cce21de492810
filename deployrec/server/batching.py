"""Requests of one moment form one batch, which a worker thread answers while the next ones gather."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

from deployrec.errors import DeployrecError
from deployrec.server.problems import RequestError


class Job(NamedTuple):
    """What one request asks of one bundle; `size` counts its events or users."""

    size: int
    ask: Any
    since: float
    answer: asyncio.Future[Any]


Batch = list[Job]


class Batcher:
    """Hands jobs to `work`, one batch at a time, on a thread of its own; called from the event loop alone.

    work: answers one for each ask, an exception for one that failed. A batch starts as soon as as many jobs wait as
    there seem to be callers (those of the batch before, and who waited when it ended), or `max_delay` seconds after the
    first: one caller alone waits for nobody, many callers for each other. A full batch waits for nobody, and lies ready
    for the thread while the one before it runs. A job larger than `max_batch` is a batch by itself.
    """

    def __init__(
        self, work: Callable[[Sequence[Job]], Sequence[Any]], max_batch: int, max_delay: float, max_queue: int
    ) -> None:
        self.work, self.max_batch, self.max_delay, self.max_queue = work, max_batch, max_delay, max_queue
        self.waiting: deque[Job] = deque()
        self.size = 0
        """events or users of the jobs that wait, in the batch behind the one that runs too"""
        self._expected = 1
        self._handed = 0
        """batches that the thread was given and has not ended: one that runs, and at most one behind it"""
        self._behind = 0
        """events or users of the latter"""
        self._timer: asyncio.TimerHandle | None = None
        self._batches: SimpleQueue[tuple[asyncio.AbstractEventLoop, Batch] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="deployrec", daemon=True)
        self._thread.start()
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, size: int, ask: Any) -> asyncio.Future[Any]:
        """The answer to come; raises a 429 where too much waits already."""
        if self.size and self.size + size > self.max_queue:
            raise RequestError(
                429,
                f"expected at most {self.max_queue:,} events or users waiting; got {self.size:,} and {size:,} more; "
                "send them again in a second",
                {"Retry-After": "1"},
            )
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self.waiting.append(Job(size, ask, time.perf_counter(), answer))
        self.size += size
        self._gather(loop)
        return answer

    async def close(self) -> None:
        """Answers all that wait, then ends the thread."""
        if self.waiting or self._handed:
            self._idle.clear()
            await self._idle.wait()
        self._batches.put(None)
        self._thread.join()

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts a batch, or waits a moment for the callers of the last one."""
        if self._handed:
            if self._handed == 1 and self.size >= self.max_batch:
                self._start(loop)
        elif len(self.waiting) >= self._expected or self.size >= self.max_batch:
            self._start(loop)
        elif self._timer is None:
            self._timer = loop.call_later(self.max_delay, self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch: Batch = []
        size = 0
        while self.waiting and (not batch or size + self.waiting[0].size <= self.max_batch):
            job = self.waiting.popleft()
            size += job.size
            batch.append(job)
        self._handed += 1
        if self._handed == 1:
            self.size -= size
        else:
            self._behind = size
        self._batches.put((loop, batch))

    def _run(self) -> None:
        """The thread's whole life."""
        while (handed := self._batches.get()) is not None:
            loop, batch = handed
            try:
                answers = self.work(batch)
            except BaseException as error:  # the thread goes on, whatever a batch ended in
                answers = [error] * len(batch)
            loop.call_soon_threadsafe(self._end, loop, batch, answers)

    def _end(self, loop: asyncio.AbstractEventLoop, batch: Batch, answers: Sequence[Any]) -> None:
        self._handed -= 1
        self._expected = len(batch) + len(self.waiting)
        self.size -= self._behind
        self._behind = 0
        if self.waiting:
            self._gather(loop)
        elif not self._handed:
            self._idle.set()
        for job, answer in zip(batch, answers, strict=True):
            if job.answer.done():  # its caller has gone
                continue
            if isinstance(answer, DeployrecError):  # the caller's: what its frames hold, and hold it, shall go
                job.answer.set_exception(answer.with_traceback(None))
            elif isinstance(answer, BaseException):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)
