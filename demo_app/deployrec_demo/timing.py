"""Interleaved timings with their spread, without `deployrec.benchmark`, which imports torch: the page must not wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

WILD = 3.0
"""p95 over p50 beyond which a figure says more of the machine's other work than of the call."""
UNRELIABLE = "busy machine, unreliable"
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Spread:
    """Median and 95th percentile of `calls` calls' wall times, in seconds."""

    p50: float
    p95: float
    calls: int

    @property
    def reliable(self) -> bool:
        return self.p95 <= WILD * self.p50

    @classmethod
    def of(cls, times: list[float]) -> Spread:
        """From the seconds of each call, at least one."""
        return cls(float(np.median(times)), float(np.percentile(times, 95)), len(times))


def interleaved(
    calls: Mapping[Key, Callable[[], object]], seconds: float, least: int = 5, most: int = 200
) -> dict[Key, Spread]:
    """Times all calls in turns, so that a busy moment of the machine hits all of them alike.

    Each is called once untimed; then come rounds of one call each, `least` of them and more until `seconds` have gone
    by or `most` are made.
    """
    for call in calls.values():
        call()
    times: dict[Key, list[float]] = {key: [] for key in calls}
    end = time.perf_counter() + seconds
    for number in range(most):
        if number >= least and time.perf_counter() > end:
            break
        for key, call in calls.items():
            begin = time.perf_counter()
            call()
            times[key].append(time.perf_counter() - begin)
    return {key: Spread.of(found) for key, found in times.items()}
