"""Takes turns over many timers, so that a busy moment of the machine hits all of them alike."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Timer = Callable[[int], np.ndarray]
"""Runs so many calls and returns the seconds of each."""

MIN_CALLS, MOST_CALLS = 3, 2000


def race(
    timers: list[Timer],
    *,
    seconds: float,
    rounds: int,
    seed: int,
    before: Callable[[int], bool] = lambda index: True,
) -> list[np.ndarray]:
    """Seconds of every timed call of each timer, over `rounds` rounds in random order; each warms up first.

    A timer gets about `seconds` in all, but MIN_CALLS calls at least. `before(index)` is asked before each warm-up and
    each turn; once it says False the race ends with what there is.
    """
    found: list[list[np.ndarray]] = [[] for _ in timers]
    turn = np.ones(len(timers), int)
    for index, timer in enumerate(timers):
        if not before(index):
            return _joined(found)
        # A compiler's first call says nothing about the second.
        quickest = min(timer(1)[0], timer(1)[0])
        turn[index] = int(np.clip(seconds / rounds / quickest, -(-MIN_CALLS // rounds), MOST_CALLS))
        if turn[index] > 1:
            timer(min(turn[index], 20))
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        for index in rng.permutation(len(timers)):
            if not before(int(index)):
                return _joined(found)
            times = found[index]
            if sum(map(len, times)) < MIN_CALLS or sum(map(np.sum, times)) < seconds:
                times.append(timers[index](int(turn[index])))
    return _joined(found)


def _joined(found: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(times) if times else np.empty(0) for times in found]
