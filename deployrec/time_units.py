"""Units in which logs and records hold times: whole numbers of them since 1970, UTC."""

import numpy as np
from numpy.typing import NDArray

DAY = 86_400

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
UNIX = {"s": (10**8, 10**10), "ms": (10**11, 10**13), "us": (10**14, 10**16), "ns": (10**17, 10**19)}
"""What Unix time looks like from 1973 to 2286; the years overlap in no two units."""


def days_of(times: NDArray[np.int64], unit: str) -> NDArray[np.float32]:
    """Days since 1970 of moments in `unit`, float32: exact to two minutes."""
    days: NDArray[np.float32] = (times / (PER_SECOND[unit] * DAY)).astype(np.float32)
    return days
