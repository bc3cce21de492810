"""Medians of a few calls, without `deployrec.benchmark`, which imports torch: the first page must not wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def median_seconds(call: Callable[[], object], calls: int, warmup: int = 0) -> float:
    """Median wall time of `call` in seconds, after `warmup` untimed calls."""
    times = []
    for number in range(warmup + calls):
        begin = time.perf_counter()
        call()
        if number >= warmup:
            times.append(time.perf_counter() - begin)
    return median(times)
