"""Break-even lengths of known curves, and reports that are not what they should be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployrec.benchmark import BenchmarkReport, Cell, Latency, break_even
from deployrec.errors import DataError


def curve(mode: str, points: Iterable[tuple[int, float]]) -> list[Cell]:
    return [Cell("m", mode, "b", 1, t, 9, 1, Latency(s, s, s, s, 5)) for t, s in points]


places = st.lists(st.integers(1, 5000), min_size=2, max_size=9, unique=True).map(sorted)


@given(places=places, per_event=st.floats(1e-6, 1e-3), fixed=st.floats(1e-5, 1e-2))
def test_straight_lines_cross_where_they_cross(places: list[int], per_event: float, fixed: float) -> None:
    step = curve("step", [(t, fixed) for t in places])
    encode = curve("encode", [(t, per_event * t) for t in places])
    crossing = fixed / per_event
    found = break_even(step, encode)
    if crossing < places[0]:
        assert found == places[0]
    elif crossing >= places[-1]:
        assert found is None or found == pytest.approx(places[-1])
    else:
        assert found == pytest.approx(crossing, rel=1e-6)


def test_the_last_of_several_crossings_counts() -> None:
    step = curve("step", [(t, 2.0) for t in (1, 10, 20, 30, 40)])
    encode = curve("encode", [(1, 1.0), (10, 3.0), (20, 1.0), (30, 3.0), (40, 4.0)])
    assert break_even(step, encode) == pytest.approx(25)


def test_only_lengths_that_both_have_are_compared() -> None:
    assert break_even(curve("step", [(5, 1.0)]), curve("encode", [(9, 2.0)])) is None


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"schema_version": 9}', '{"schema_version": 1, "cells": 3}'])
def test_a_broken_report_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(DataError, match="expected a benchmark report") as error:
        BenchmarkReport.load(tmp_path / "report.json")
    assert "\n" not in str(error.value)
