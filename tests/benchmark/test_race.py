"""Turns are interleaved, every timer gets its calls, and a stop is a stop."""

from __future__ import annotations

from functools import partial
from typing import NoReturn

import numpy as np
import pytest

from deployrec.benchmark.race import MIN_CALLS, Timer, race


class Recorder:
    """Timers that log their turns and pretend that a call takes `cost` seconds."""

    def __init__(self, *costs: float) -> None:
        self.turns: list[int] = []
        self.timers: list[Timer] = [partial(self._run, index, cost) for index, cost in enumerate(costs)]

    def _run(self, index: int, cost: float, number: int) -> np.ndarray:
        self.turns.append(index)
        return np.full(number, cost)


def never(index: int, error: Exception) -> NoReturn:
    raise error


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_a_slow_timer_gets_the_fewest_calls_and_a_quick_one_its_time(rounds: int) -> None:
    recorder = Recorder(10.0, 1e-3)
    slow, quick = race(recorder.timers, seconds=1.0, rounds=rounds, seed=0, failed=never)
    assert MIN_CALLS <= len(slow) <= 2 * MIN_CALLS
    assert quick.sum() == pytest.approx(1.0, rel=0.2)


def test_each_round_gives_every_timer_one_turn() -> None:
    recorder = Recorder(0.01, 0.01, 0.01)
    race(recorder.timers, seconds=1.0, rounds=4, seed=3, failed=never)
    rounds = np.array(recorder.turns[-12:]).reshape(4, 3)
    assert [sorted(row) for row in rounds.tolist()] == [[0, 1, 2]] * 4
    assert len({tuple(row) for row in rounds.tolist()}) > 1


@pytest.mark.parametrize("allowed", range(7))
def test_after_a_no_nothing_runs(allowed: int) -> None:
    recorder = Recorder(0.2, 0.2)
    asked = []

    def before(index: int) -> bool:
        asked.append(index)
        return len(asked) <= allowed

    found = race(recorder.timers, seconds=1.0, rounds=2, seed=0, before=before, failed=never)
    assert len(asked) == min(allowed + 1, 6)
    measured = max(0, allowed - 2)
    assert sum(len(times) > 0 for times in found) == min(2, measured)


@pytest.mark.parametrize("good", [0, 1, 4, 6])
def test_a_timer_that_breaks_leaves_and_the_others_go_on(good: int) -> None:
    calls, failures = [], []

    def breaks(number: int) -> np.ndarray:
        calls.append(number)
        if len(calls) > good:
            raise RuntimeError("worn out")
        return np.full(number, 0.01)

    def failed(index: int, error: Exception) -> None:
        failures.append((index, str(error)))

    found = race([breaks, Recorder(0.01).timers[0]], seconds=1.0, rounds=5, seed=0, failed=failed)
    assert failures == [(0, "worn out")]
    assert len(calls) == good + 1
    assert len(found[0]) == sum(calls[3:good])
    assert len(found[1]) == 100


def test_turns_are_plain_integers_that_json_knows() -> None:
    kinds = set()

    def timer(number: int) -> np.ndarray:
        kinds.add(type(number))
        return np.full(number, 0.01)

    race([timer], seconds=1.0, rounds=2, seed=0, failed=never)
    assert kinds == {int}


def test_warm_ups_and_turns_are_told_as_they_end() -> None:
    recorder = Recorder(0.01, 0.001)
    warm: list[int] = []
    turns: list[int] = []
    found = race(
        recorder.timers, seconds=0.2, rounds=2, seed=0, failed=never, warmed=lambda index, times: warm.append(index),
        took=lambda index, times: turns.append(len(times)),
    )  # fmt: skip
    assert warm == [0, 1]
    assert sum(turns) == sum(map(len, found))
