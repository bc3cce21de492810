"""Slopes of known lines, and what the terminal says of a model with a window."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deployrec.benchmark import BenchmarkConfig, BenchmarkReport, Cell, Latency, Skipped, Subject, findings, slope
from deployrec.benchmark.tables import sentence, tables

LENGTHS = (1, 10, 50, 100, 200, 500, 1000, 2000)


def cell(mode: str, history: int, seconds: float, label: str = "m", backend: str = "b") -> Cell:
    return Cell(label, mode, backend, 1, history, 9, 1, Latency(seconds, seconds, seconds, seconds, 5))


def report_of(
    step: Callable[[int], float], encode: Callable[[int], float], window: int | None = None
) -> BenchmarkReport:
    subject = Subject("m", "m", {}, "", False, 9, 4, window, 100, 200, 160)
    cells = [cell("step", t, step(t)) for t in LENGTHS] + [cell("encode", t, encode(t)) for t in LENGTHS]
    config = BenchmarkConfig(history=LENGTHS, batch=(), catalogue=(), threads=())
    return BenchmarkReport(config, {"processor": "p"}, {}, {"name": "d"}, [subject], cells)


@given(base=st.floats(1e-5, 1e-2), per_event=st.floats(-1e-6, 1e-6))
def test_a_lines_slope_is_its_own(base: float, per_event: float) -> None:
    found = slope([cell("step", t, base + 1e-2 + per_event * t) for t in LENGTHS])
    assert found is not None
    assert found.per_event == pytest.approx(per_event, abs=1e-12)


@given(seed=st.integers(0, 99))
def test_growth_is_seen_through_noise(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 1e-6, len(LENGTHS))
    growing = slope([cell("step", t, 1e-4 + 1e-7 * t + e) for t, e in zip(LENGTHS, noise, strict=True)])
    assert growing is not None
    assert not growing.inside_noise
    assert growing.per_event == pytest.approx(1e-7, rel=0.05)


def test_most_constants_with_noise_are_flat() -> None:
    draws = np.random.default_rng(0).normal(0, 1e-6, (100, len(LENGTHS)))
    flat = [slope([cell("step", t, 1e-4 + e) for t, e in zip(LENGTHS, noise, strict=True)]) for noise in draws]
    assert sum(found is not None and found.inside_noise for found in flat) >= 85


def test_two_lengths_have_no_slope() -> None:
    assert slope([cell("step", 1, 1.0), cell("step", 2, 2.0)]) is None


def test_a_recurrent_model_pays_from_its_crossing_on() -> None:
    (found,) = findings(report_of(lambda t: 1e-4, lambda t: 5e-6 * t))
    assert found.break_even == pytest.approx(20)
    assert found.speedup(200) == pytest.approx(10)
    text = sentence(found)
    assert "reading 200 events again takes 10x as long" in text
    assert "reading 2,000 events again takes 100x as long" in text
    assert "a step pays from 20 events on" in text


def test_a_windows_findings_look_no_further_than_the_window() -> None:
    (found,) = findings(report_of(lambda t: 1e-4 if t < 200 else 1e-3, lambda t: min(5e-6 * t, 1e-3), window=200))
    assert found.break_even == pytest.approx(20)
    assert found.slope is not None
    assert found.slope.per_event == pytest.approx(0)
    assert "2,000, where it reads the newest 200 again" in sentence(found)


def test_the_fastest_backend_of_each_way_counts() -> None:
    report = report_of(lambda t: 1e-4, lambda t: 5e-6 * t)
    faster = [cell("encode", t, 1e-6 * t, backend="c") for t in LENGTHS]
    (found,) = findings(replace(report, cells=[*report.cells, *faster]))
    assert found.speedup(200) == pytest.approx(2)


def test_the_terminal_shows_every_line_and_what_was_skipped() -> None:
    report = replace(report_of(lambda t: 1e-4, lambda t: 5e-6 * t), skipped=[Skipped("abacus", "no beads")])
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(tables(report))
    text = console.export_text()
    assert "skipped: abacus: no beads" in text
    assert [line.split()[:3] for line in text.splitlines() if line.startswith("m ")][:2] == [
        ["m", "step", "b"],
        ["m", "re-encode", "b"],
    ]
    assert "batch 1, 1 thread" in text
