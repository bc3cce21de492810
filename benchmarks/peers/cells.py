"""The workers' side of a peer: batches are made ready once, then called in turn, each call timed alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Protocol

K = 10
"""Items of every list."""


class Model(Protocol):
    """prepare(batches of item rows 1..N [B][T], threads) gives a call for each, and what `Difference` holds."""

    def prepare(
        self, histories: list[list[list[int]]], threads: int
    ) -> tuple[list[Callable[[], object]], dict[str, Any] | None]: ...


class Cells:
    """Answers `prepare` with the number of a cell, and a cell's number with the seconds of so many calls."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._cells: list[list[Callable[[], object]]] = []
        self._place = 0

    def __call__(self, prepare: dict[str, Any] | None = None, cell: int = 0, calls: int = 0) -> Any:
        if prepare is None:
            return self._times(self._cells[cell], calls)
        ready, difference = self._model.prepare(**prepare)
        self._cells.append(ready)
        return {"cell": len(self._cells) - 1, "difference": difference}

    def _times(self, ready: list[Callable[[], object]], calls: int) -> list[float]:
        times = []
        for _ in range(calls):
            self._place += 1
            call = ready[self._place % len(ready)]
            begin = time.perf_counter()
            call()
            times.append(time.perf_counter() - begin)
        return times


def versions(*packages: str) -> dict[str, str]:
    """Of installed packages, by name."""
    return {name: version(name) for name in packages}
