"""Batches form out of what waits, in order, within their bounds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from deployrec.server.batching import Batcher, Job
from deployrec.server.problems import RequestError


class Work:
    """Notes the batches; the first one waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.go = threading.Event()

    def __call__(self, jobs: Sequence[Job]) -> list[Any]:
        self.go.wait(10)
        self.batches.append([job.ask for job in jobs])
        return [ValueError(job.ask) if job.ask == "bad" else job.ask for job in jobs]


def test_what_comes_while_a_batch_runs_is_the_next_one() -> None:
    async def main() -> None:
        batcher = Batcher(work, max_batch=4, max_delay=0.001, max_queue=100)
        asked = [batcher.submit(1, number) for number in range(10)]
        work.go.set()
        assert await asyncio.gather(*asked) == list(range(10))
        await batcher.close()

    work = Work()
    asyncio.run(main())
    assert work.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_a_large_job_is_a_batch_by_itself_and_none_overtakes_it() -> None:
    async def main() -> None:
        batcher = Batcher(work, max_batch=4, max_delay=0.001, max_queue=100)
        asked = [batcher.submit(size, size) for size in (1, 3, 9, 1, 2)]
        work.go.set()
        await asyncio.gather(*asked)
        await batcher.close()

    work = Work()
    asyncio.run(main())
    assert work.batches == [[1], [3], [9], [1, 2]]


def test_a_full_queue_refuses_and_goes_on() -> None:
    async def main() -> None:
        batcher = Batcher(work, max_batch=4, max_delay=0.001, max_queue=5)
        asked = [batcher.submit(1, 0), batcher.submit(9, 1)]  # what is larger than the queue may wait alone
        with pytest.raises(RequestError) as refused:
            batcher.submit(1, 2)
        assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
        work.go.set()
        await asyncio.gather(*asked)
        assert await batcher.submit(5, 3) == 3
        assert batcher.size == 0
        await batcher.close()

    work = Work()
    asyncio.run(main())


def test_one_error_is_one_callers_and_closing_answers_all() -> None:
    async def main() -> None:
        batcher = Batcher(work, max_batch=4, max_delay=0.001, max_queue=100)
        asked = [batcher.submit(1, ask) for ask in ("good", "bad", "gone", "good")]
        asked[2].cancel()
        work.go.set()
        await batcher.close()
        assert asked[0].result() == asked[3].result() == "good"
        with pytest.raises(ValueError, match="bad"):
            asked[1].result()

    work = Work()
    asyncio.run(main())


def test_a_batch_waits_for_as_many_callers_as_there_seem_to_be() -> None:
    """One that ran, and three who came meanwhile: the next batch is of four."""

    async def main() -> None:
        batcher = Batcher(work, max_batch=100, max_delay=5, max_queue=100)
        first = batcher.submit(1, 0)
        others = [batcher.submit(1, number) for number in (1, 2, 3)]
        work.go.set()
        await first
        await asyncio.sleep(0.05)
        assert work.batches == [[0]]
        others.append(batcher.submit(1, 4))
        await asyncio.gather(*others)
        await batcher.close()

    work = Work()
    asyncio.run(main())
    assert work.batches == [[0], [1, 2, 3, 4]]
