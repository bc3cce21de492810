"""The live picture: what it draws is what was measured, and rivals come once they are exported."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deployrec.errors import ConfigError
from deployrec_demo import curve, headline
from deployrec_demo.engine import Engine
from deployrec_demo.timing import Spread
from tests.runtime.conftest import Twin


def test_every_line_is_measured_at_every_length(twin_engine: Callable[[str], tuple[Twin, Engine]]) -> None:
    engines = [twin_engine(kind)[1] for kind in ("gru", "window", "encode-only")]
    found = curve.measure(engines[0], engines[1:], seconds=0)
    assert found.steps
    assert [set(line.points) for line in found.lines] == [set(curve.LENGTHS)] * 4
    assert len({spread.calls for line in found.lines for spread in line.points.values()}) == 1
    assert found.lines[2].window == engines[1].window
    data = headline._data(found)
    assert data["most"] == 2000
    assert len(data["lines"]) == 4  # type: ignore[arg-type]


def test_a_model_without_steps_says_so(twin_engine: Callable[[str], tuple[Twin, Engine]]) -> None:
    found = curve.measure(twin_engine("encode-only")[1], seconds=0)
    assert not found.steps
    assert found.lines[0].short == "its window"


def test_a_wide_spread_is_said(twin_engine: Callable[[str], tuple[Twin, Engine]]) -> None:
    found = curve.measure(twin_engine("gru")[1], seconds=0)
    calm = {length: Spread(0.001, 0.002, 9) for length in curve.LENGTHS}
    quiet = replace(found, lines=tuple(replace(line, points=calm) for line in found.lines))
    assert "unreliable" not in headline._origin(quiet)
    busy = calm | {10: Spread(0.001, 0.0042, 9)}
    loud = replace(quiet, lines=(replace(quiet.lines[0], points=busy), quiet.lines[1]))
    assert "busy machine, unreliable" in headline._origin(loud)
    assert "4.2 times the median" in headline._origin(loud)


def test_rivals_join_when_they_are_there(
    twin_engine: Callable[[str], tuple[Twin, Engine]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exported(engine: Engine) -> list[Path]:
        return [twin_engine("window")[1].bundle.path]

    monkeypatch.setattr(curve, "exported", exported)
    monkeypatch.setattr(curve, "FIRST", 0.0)
    monkeypatch.setattr(curve, "LATER", 0.0)
    late = curve.LateCurve(twin_engine("gru")[1])
    _wait(lambda: late.curve is not None and not late.waiting and len(late.curve.lines) == 3)


def test_rivals_that_cannot_be_made_are_one_line(
    twin_engine: Callable[[str], tuple[Twin, Engine]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(engine: Engine) -> list[Path]:
        raise ConfigError("expected torch; got none")

    monkeypatch.setattr(curve, "exported", none)
    monkeypatch.setattr(curve, "FIRST", 0.0)
    late = curve.LateCurve(twin_engine("gru")[1])
    _wait(lambda: late.reason == "expected torch; got none")
    assert late.curve is not None


def _wait(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not ready() and time.monotonic() < end:
        time.sleep(0.01)
    assert ready()
