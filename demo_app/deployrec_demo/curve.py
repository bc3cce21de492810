"""The picture at the top: one event's latency against the history, for a step, a re-read and two other models."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.errors import DeployrecError
from deployrec.runtime.backends.base import NOTHING
from deployrec_demo.engine import Engine
from deployrec_demo.rivals import RIVALS, exported
from deployrec_demo.timing import Spread, interleaved

LENGTHS = (1, 10, 50, 200, 500, 1000, 2000)
SETTLE = 1.0
"""Seconds that a measurement waits at first: the list of a page that is just opening goes before it."""
FIRST, LATER, LEAST = 0.6, 2.0, 8
"""Seconds that a curve alone and one with its rivals may take, and the rounds that both make at least."""


@dataclass(frozen=True)
class Line:
    """A model's spread by history length; `window`: it reads no more than so many newest events (None: no end)."""

    name: str
    short: str
    points: dict[int, Spread]
    window: int | None = None


@dataclass(frozen=True)
class Curve:
    """Lines measured in turns, the served model's step first and its re-read second; `at`: time.time() of the end."""

    lines: tuple[Line, ...]
    steps: bool
    at: float

    @property
    def reliable(self) -> bool:
        """Whether the two lines that the page speaks of are."""
        return all(spread.reliable for line in self.lines[:2] for spread in line.points.values())

    @property
    def spread(self) -> float:
        """p95 over p50 of both lines, the worst length of them."""
        return max(spread.p95 / spread.p50 for line in self.lines[:2] for spread in line.points.values())


def measure(engine: Engine, rivals: Sequence[Engine] = (), seconds: float = FIRST) -> Curve:
    """Times one more event after histories of LENGTHS: by the model's own way, by reading all, and by each rival."""
    draw = np.random.default_rng(0)
    calls: dict[tuple[int, int], Callable[[], object]] = {}
    for length in LENGTHS:
        rows = draw.integers(1, engine.manifest.num_items + 1, length + 1).tolist()
        calls[0, length] = _event(engine, rows)
        calls[1, length] = _again(engine, rows)
        for place, rival in enumerate(rivals, 2):
            calls[place, length] = _event(rival, rows)
    found = interleaved(calls, seconds, LEAST)
    points = [{length: found[place, length] for length in LENGTHS} for place in range(2 + len(rivals))]
    own = engine.manifest.model["key"]
    steps = engine.can_step(1)
    lines = [
        Line(f"{own}: one step" if steps else f"{own}: its window", "one step" if steps else "its window", points[0],
             engine.window),
        Line(f"{own}: all read again", "all read again", points[1], engine.window),
        *(
            Line(_named(rival), RIVALS.get(rival.manifest.model["key"], ""), point, rival.window)
            for rival, point in zip(rivals, points[2:], strict=True)
        ),
    ]  # fmt: skip
    return Curve(tuple(lines), steps, time.time())


class LateCurve:
    """Measures in the background: at once without rivals, then all in turns once the rivals are exported."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rivals: list[Engine] = []
        self.curve: Curve | None = None
        self.waiting = ""
        """What is still to come, in words."""
        self.reason = ""
        """Why there are no rivals."""
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def again(self) -> None:
        """Measures anew, now."""
        with self._lock:
            self.curve = measure(self._engine, self._rivals, LATER if self._rivals else FIRST)

    def _run(self) -> None:
        time.sleep(SETTLE)
        self.again()
        self.waiting = f"{' and '.join(RIVALS.values())} are being exported to be measured beside it"
        try:
            paths = exported(self._engine)
            self._rivals = [Engine(Bundle.open(path)) for path in paths]
            if self._rivals:
                self.again()
        except DeployrecError as error:
            self.reason = str(error)
        self.waiting = ""


def _event(engine: Engine, rows: list[int]) -> Callable[[], object]:
    """One more event, the last of `rows`, after the others."""
    if not engine.can_step(len(rows)):
        return _again(engine, rows)
    state = engine.encode(rows[:-1], NOTHING).state
    return lambda: engine.step(rows[-1], NOTHING, state)


def _again(engine: Engine, rows: list[int]) -> Callable[[], object]:
    return lambda: engine.encode(rows, NOTHING)


def _named(rival: Engine) -> str:
    key = rival.manifest.model["key"]
    name = RIVALS.get(key, key)
    return f"{name}: newest {rival.window:,} read" if rival.window else f"{name}: one step"
