"""The calculator: sums that can be done by hand, and a page that says they were computed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from deployrec_demo import fleet
from deployrec_demo.curve import Curve, Line
from deployrec_demo.timing import Spread
from tests.demo_app.conftest import text


def line(first: float, last: float) -> Line:
    return Line("", "", {1: Spread(first, first, 9), 100: Spread(last, last, 9)})


def test_needs_are_products() -> None:
    curve = Curve((line(1e-4, 1e-4), line(1e-4, 1e-2)), True, 0.0)
    step, again, cached = fleet.needs(1000, curve, users=10**6, rate=2000, history=100)
    assert step.memory == 1e9
    assert step.cores == pytest.approx(2000 * 1e-4 / 0.5)
    assert again.memory == 10**6 * 100 * 4
    assert again.cores == pytest.approx(2000 * 1e-2 / 0.5)
    assert cached.memory == 10**6 * 100 * 1024
    assert cached.cores > step.cores
    assert step.cost(25.0, 0.0) == pytest.approx(10.0)


def test_between_two_lengths_the_latency_is_read_off_the_picture() -> None:
    assert fleet.seconds(line(1e-4, 1e-2), 10) == pytest.approx(1e-3)
    assert fleet.seconds(line(1e-4, 1e-2), 5000) == pytest.approx(1e-2)


def test_the_page_labels_what_it_computes(opened: Callable[..., AppTest]) -> None:
    app = opened(page="fleet")
    end = time.monotonic() + 30
    while not app.select_slider and time.monotonic() < end:  # the latencies are measured first
        time.sleep(0.1)
        app.run()
    assert not app.exception
    assert "computed: cores for the steps" in text(app)
    assert "a KV cache, at the least" in text(app)
    before = text(app)
    app.select_slider(key="users").set_value(10**8).run()
    assert text(app) != before
