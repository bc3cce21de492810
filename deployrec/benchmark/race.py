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
    failed: Callable[[int, Exception], None],
    warmed: Callable[[int, np.ndarray], None] = lambda index, times: None,
    took: Callable[[int, np.ndarray], None] = lambda index, times: None,
) -> list[np.ndarray]:
    """Seconds of every timed call of each timer, over `rounds` rounds in random order; each warms up first.

    A timer gets about `seconds` in all, but MIN_CALLS calls at least. `before(index)` is asked before each warm-up and
    each turn; once it says False the race ends with what there is. A timer that raises leaves the race with what it
    has, after `failed(index, error)`. `warmed(index, times)` hears the last calls of a
    warm-up, which are not among the answer, and `took(index, times)` every turn, each as it ends.
    """
    found: list[list[np.ndarray]] = [[] for _ in timers]
    turns: dict[int, int] = {}
    for index, timer in enumerate(timers):
        if not before(index):
            return _joined(found)
        try:
            turns[index], times = _warm_up(timer, seconds / rounds, -(-MIN_CALLS // rounds))
            warmed(index, times)
        except Exception as error:
            failed(index, error)
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        for index in rng.permutation(len(timers)).tolist():
            if not before(index):
                return _joined(found)
            times = found[index]
            if index in turns and (sum(map(len, times)) < MIN_CALLS or sum(map(np.sum, times)) < seconds):
                try:
                    times.append(timers[index](turns[index]))
                    took(index, times[-1])
                except Exception as error:
                    failed(index, error)
                    del turns[index]
    return _joined(found)


def _warm_up(timer: Timer, seconds: float, least: int) -> tuple[int, np.ndarray]:
    """How many calls fill `seconds`, at least `least`, once the timer is warm, and the last ones' seconds."""
    # A compiler's first call says nothing about the second.
    first, last = timer(1), timer(1)
    calls = max(least, min(MOST_CALLS, int(seconds / min(first[0], last[0]))))
    if calls > 1:
        last = timer(min(calls, 20))
    return calls, last


def _joined(found: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(times) if times else np.empty(0) for times in found]
