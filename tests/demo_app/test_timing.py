"""Calls take turns, and a spread too wide to be trusted is seen."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployrec_demo.timing import Spread, interleaved


def test_calls_take_turns_after_one_untimed_call_each() -> None:
    order: list[str] = []
    found = interleaved({name: partial(order.append, name) for name in "abc"}, seconds=0, least=4)
    assert order == ["a", "b", "c"] * 5
    assert {spread.calls for spread in found.values()} == {4}


def test_time_and_number_both_end_the_rounds() -> None:
    assert interleaved({1: lambda: None}, seconds=60, most=7)[1].calls == 7
    assert interleaved({1: lambda: None}, seconds=0, least=3)[1].calls == 3


def test_a_first_slow_call_is_not_the_figure() -> None:
    times = [0.052, *[0.0001] * 39]
    assert Spread.of(times).p50 == pytest.approx(0.0001)
    assert Spread.of(times).reliable


@given(st.lists(st.floats(1e-6, 1), min_size=1))
def test_a_wide_spread_is_unreliable(times: list[float]) -> None:
    spread = Spread.of(times)
    assert spread.reliable == (spread.p95 <= 3 * spread.p50)


def test_busy_machine_is_told() -> None:
    assert not Spread.of([0.001] * 18 + [0.01] * 4).reliable
