"""Requests of one moment form one batch, which a worker thread answers while the next ones gather."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from deployrec.server.problems import RequestError


@dataclass(slots=True)
class Job:
    """What one request asks of one bundle; `size` counts its events or users."""

    size: int
    ask: Any
    since: float = field(default_factory=time.perf_counter)
    answer: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """Hands jobs to `work`, one batch at a time, on a thread of its own; called from the event loop alone.

    work: answers one for each ask, an exception for one that failed. A batch starts as soon as as many jobs wait as
    made the batch before, or `max_delay` seconds after the first: one caller alone waits for nobody, many callers in
    step for each other. A job larger than `max_batch` is a batch by itself.
    """

    def __init__(
        self, work: Callable[[Sequence[Any]], Sequence[Any]], max_batch: int, max_delay: float, max_queue: int
    ) -> None:
        self.work, self.max_batch, self.max_delay, self.max_queue = work, max_batch, max_delay, max_queue
        self.waiting: deque[Job] = deque()
        self.size = 0
        """events or users of the jobs that wait"""
        self._expected = 1
        self._running: list[Job] = []
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, "deployrec")
        self._idle = asyncio.Event()
        self._idle.set()

    def submit(self, size: int, ask: Any) -> asyncio.Future[Any]:
        """The answer to come; raises a 429 where too much waits already."""
        if self.waiting and self.size + size > self.max_queue:
            raise RequestError(
                429,
                f"expected at most {self.max_queue:,} events or users waiting; got {self.size:,} and {size:,} more; "
                "send them again in a second",
                {"Retry-After": "1"},
            )
        job = Job(size, ask)
        self.waiting.append(job)
        self.size += size
        self._idle.clear()
        if not self._running:
            self._gather()
        return job.answer

    async def close(self) -> None:
        """Answers all that wait, then ends the thread."""
        await self._idle.wait()
        self._thread.shutdown()

    def _gather(self) -> None:
        """Starts a batch, or waits a moment for the callers of the last one."""
        if len(self.waiting) >= self._expected or self.size >= self.max_batch:
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.max_delay, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, size = self._running, 0
        while self.waiting and (not batch or size + self.waiting[0].size <= self.max_batch):
            job = self.waiting.popleft()
            size += job.size
            batch.append(job)
        self.size -= size
        self._expected = len(batch)
        loop = asyncio.get_running_loop()
        self._thread.submit(self._run, loop, batch)

    def _run(self, loop: asyncio.AbstractEventLoop, batch: list[Job]) -> None:
        try:
            answers = self.work(batch)
        except BaseException as error:  # the thread goes on, whatever a batch ended in
            answers = [error] * len(batch)
        loop.call_soon_threadsafe(self._end, answers)

    def _end(self, answers: Sequence[Any]) -> None:
        batch, self._running = self._running, []
        if self.waiting:
            self._gather()
        else:
            self._idle.set()
        for job, answer in zip(batch, answers, strict=True):
            if job.answer.done():  # its caller has gone
                continue
            if isinstance(answer, BaseException):
                job.answer.set_exception(answer)
            else:
                job.answer.set_result(answer)
