"""The same click by every way: they agree, and a way that does not is told from one that does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deployrec_demo import session
from deployrec_demo.engine import Engine
from deployrec_demo.torch_twin import TorchTwin
from deployrec_demo.ways import LEAST, compare, cost
from tests.runtime.conftest import WINDOW, Twin


@pytest.mark.parametrize("kind", ["gru", "window", "encode-only"])
@pytest.mark.parametrize("before", [0, 1, WINDOW - 1, WINDOW, 20])
def test_ways_agree_or_say_why_not(twin_engine: Callable[[str], tuple[Twin, Engine]], kind: str, before: int) -> None:
    _, engine = twin_engine(kind)
    visit = session.click(engine, session.start(engine, range(1, before + 1)), "i30")
    step, again, torch = compare(engine, visit, "torch is not installed")
    assert torch.reason == "torch is not installed"
    assert torch.spread is None
    assert again.spread is not None
    if kind == "gru" or (kind == "window" and before < WINDOW):
        assert step.reason == ""
        assert step.spread is not None
        assert 0 < step.spread.p50 <= step.spread.p95
        assert step.spread.calls == again.spread.calls >= LEAST
    else:
        assert step.spread is None
        assert step.reason.startswith("this model" if kind == "encode-only" else f"beyond {WINDOW} events")
    assert again.agrees
    assert again.difference is not None
    assert again.difference < 1e-5


def test_the_cost_of_a_real_user_needs_no_click(twin_engine: Callable[[str], tuple[Twin, Engine]]) -> None:
    engine = {kind: twin_engine(kind)[1] for kind in ("gru", "window")}
    assert cost(engine["gru"], session.start(engine["gru"])) is None
    found = cost(engine["gru"], session.start(engine["gru"], range(1, 21)))
    assert found is not None
    assert found.step is not None
    assert found.events == 20
    windowed = cost(engine["window"], session.start(engine["window"], range(1, 21)))
    assert windowed is not None
    assert (windowed.step, windowed.events) == (None, WINDOW)
    assert windowed.reason.startswith(f"beyond {WINDOW} events")


def test_a_skipped_event_has_no_ways(twin_engine: Callable[[str], tuple[Twin, Engine]]) -> None:
    _, engine = twin_engine("gru")
    assert compare(engine, session.start(engine, [1]), "") == []
    assert compare(engine, session.click(engine, session.start(engine, [1]), "no such item"), "") == []


def test_a_state_of_another_history_is_seen(twin_engine: Callable[[str], tuple[Twin, Engine]]) -> None:
    _, engine = twin_engine("gru")
    visit = session.click(engine, session.start(engine, [1, 2, 3]), "i4")
    other = session.start(engine, [9, 8, 7])
    assert visit.previous is not None
    wrong = replace(visit, previous=replace(visit.previous, state=other.state))
    again = compare(engine, wrong, "")[1]
    assert not again.agrees
    assert again.difference is not None
    assert again.difference > 1e-3


def test_torch_agrees_with_the_graphs(bundle_of: Callable[[str], Path]) -> None:
    engine = Engine.load(bundle_of("recblr"))
    twin = TorchTwin(engine.bundle)
    twin.warm()
    visit = session.click(engine, session.start(engine, range(1, 60)), engine.catalogue.item_ids[7])
    ways = compare(engine, visit, twin)
    assert [way.name for way in ways] == [
        "step, ONNX Runtime", "all 60 events again, ONNX Runtime", "step, torch", "all 60 events again, torch",
    ]  # fmt: skip
    assert all(way.agrees for way in ways)
    assert all(way.difference is not None and way.difference < 1e-5 for way in ways)
