"""One timer watches many awaits: who is late is told, nobody else."""

from __future__ import annotations

import asyncio
import time

import pytest

from deployrec.server.deadlines import Deadlines


def test_who_is_late_is_told_and_who_is_not_goes_on() -> None:
    async def main() -> None:
        deadlines = Deadlines(0.05)

        async def waiting(seconds: float) -> str:
            await asyncio.sleep(seconds)
            return "came"

        async def later() -> str:
            await asyncio.sleep(0.03)
            return await deadlines.wait(waiting(0.04))

        start = time.perf_counter()
        found = await asyncio.gather(
            deadlines.wait(waiting(0)), deadlines.wait(waiting(9)), later(), return_exceptions=True
        )
        assert time.perf_counter() - start < 5
        assert (found[0], found[2]) == ("came", "came")
        assert isinstance(found[1], TimeoutError)
        assert await deadlines.wait(waiting(0)) == "came"
        with pytest.raises(TimeoutError):  # the timer runs again
            await deadlines.wait(waiting(9))
        assert not deadlines._due
        assert not deadlines._late

    asyncio.run(main())


def test_a_task_that_is_cancelled_is_cancelled_and_not_late() -> None:
    async def main() -> None:
        deadlines = Deadlines(9)
        task = asyncio.create_task(deadlines.wait(asyncio.sleep(9)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not deadlines._due

    asyncio.run(main())
