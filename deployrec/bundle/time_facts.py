"""What a bundle says of time, and how its graphs are told the moment of a request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deployrec.bundle.graph import GraphTensor
from deployrec.state import UNKNOWN_TIME

ELAPSED = "elapsed"
"""An input of a time-aware bundle's graphs, see `TimeFacts.elapsed`."""


@dataclass(frozen=True)
class TimeFacts:
    """Of a time-aware bundle: how its log counts time, and the seconds between events that training knew."""

    unit: str
    """of the log's times: "s", "ms", "us" or "ns" since 1970"""
    resolution: str
    """the coarsest of day, hour, minute, second, ... of which all its times were whole ones"""
    max_gap: float
    """most seconds between two events; longer ones count as so many"""
    calendar: bool
    """whether its graphs are told the day of the request too"""

    @property
    def elapsed(self) -> GraphTensor:
        """Seconds from a user's last event to the request, [B]; of a bundle with a calendar [B, 2], the days since 1970
        beside them. Negative where unknown."""
        return GraphTensor(ELAPSED, "float32", ("B", 2) if self.calendar else ("B",))

    def told(self, asked: np.ndarray) -> np.ndarray:
        """What `elapsed` is of (seconds, days) [B, 2]."""
        return asked if self.calendar else asked[:, 0]

    def unknown(self, batch: int) -> np.ndarray:
        """What `elapsed` is where nobody knows."""
        return np.full((batch, 2) if self.calendar else batch, UNKNOWN_TIME, np.float32)
