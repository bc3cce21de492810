"""benchmarks/native.py: contenders take turns, and a ratio is that of neighbours in time."""

from __future__ import annotations

import random

import numpy as np

from benchmarks import native


def test_every_contender_calls_once_a_turn() -> None:
    calls: list[str] = []
    contenders = {name: (lambda name=name: calls.append(name)) for name in (native.NATIVE, native.PYTHON, native.GRAPH)}
    times = native.interleaved(contenders, 0.01, random.Random(1))  # type: ignore[arg-type]
    turns = len(times[native.NATIVE])
    assert turns == len(times[native.PYTHON]) == len(times[native.GRAPH]) > 3
    asked = calls[3 * 2 * native.GROUPS :]
    assert all(set(asked[place : place + 3]) == set(contenders) for place in range(0, len(asked), 3))


def test_ratios_are_of_the_same_turn() -> None:
    slow = np.array([1.0, 5.0, 1.0, 1.0, 3.0])  # what a busy machine does to a turn slows all of it
    found = native.cell(8, {native.NATIVE: 2 * slow, native.PYTHON: 6 * slow, native.GRAPH: slow})
    assert (found["cost_of_graph"], found["times_python"]) == (2, 3)
    assert found[native.NATIVE]["events_per_second"] == 4
    assert found["turns"] == 5
