"""What the curves say: from which history on a step pays, how much it saves, and whether its time grows at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deployrec.benchmark.report import ENCODE, STEP, BenchmarkReport, Cell


@dataclass(frozen=True)
class Slope:
    """Seconds (p50) that each further event of history adds, by least squares, and that figure's standard error."""

    per_event: float
    error: float

    @property
    def inside_noise(self) -> bool:
        """Whether two standard errors cover it: no growth can be told from zero."""
        return abs(self.per_event) <= 2 * self.error


@dataclass(frozen=True)
class Finding:
    """A model's step against the same model reading the history again, each on the backend that is fastest for it.

    step, encode: seconds (p50) by history length; break_even: see `break_even`; slope: of the step. Both look only at
    histories that the state still holds: beyond `window` (None: no limit) a step reads the newest events again.
    """

    label: str
    window: int | None
    step: dict[int, float]
    encode: dict[int, float]
    break_even: float | None
    slope: Slope | None

    def speedup(self, history: int) -> float:
        """How many times faster the step is; KeyError for a length that was not measured."""
        return self.encode[history] / self.step[history]


def findings(report: BenchmarkReport) -> list[Finding]:
    """One for each model that was measured both ways along the history axis."""
    found = []
    for subject in report.subjects:
        step, encode = (report.fastest("history", subject.label, mode) for mode in (STEP, ENCODE))
        if step and encode:
            window = subject.exact_up_to
            held = [cell for cell in step if window is None or cell.history < window]
            flat = [cell for cell in held if cell.backend == step[0].backend]
            crossing = break_even(held, encode)
            found.append(Finding(subject.label, window, medians(step), medians(encode), crossing, slope(flat)))
    return found


def medians(cells: list[Cell]) -> dict[int, float]:
    """p50 by history length."""
    return {cell.history: cell.latency.p50 for cell in cells}


def slope(cells: list[Cell]) -> Slope | None:
    """The slope of latency (p50) over history; None for fewer than three lengths."""
    if len(cells) < 3:
        return None
    x = np.array([cell.history for cell in cells], float)
    y = np.array([cell.latency.p50 for cell in cells])
    spread = float(np.sum((x - x.mean()) ** 2))
    per_event = float(np.sum((x - x.mean()) * (y - y.mean())) / spread)
    residuals = y - y.mean() - per_event * (x - x.mean())
    return Slope(per_event, float(np.sqrt(np.sum(residuals**2) / (len(x) - 2) / spread)))


def break_even(step: list[Cell], encode: list[Cell]) -> float | None:
    """The history length from which a step is faster than encoding the history again (p50); None where it never is.

    Between two measured lengths the latencies are taken as straight lines. Where the step is faster at the shortest
    measured length already, that length.
    """
    pairs = medians(step)
    gaps = [(c.history, c.latency.p50 - pairs[c.history]) for c in encode if c.history in pairs]
    gaps.sort()
    # The last crossing counts: before it, noise may have put either path ahead.
    behind = [place for place, (_, gap) in enumerate(gaps) if gap <= 0]
    if not gaps or (behind and behind[-1] == len(gaps) - 1):
        return None
    if not behind:
        return float(gaps[0][0])
    (left, below), (right, above) = gaps[behind[-1]], gaps[behind[-1] + 1]
    return left + (right - left) * -below / (above - below)
