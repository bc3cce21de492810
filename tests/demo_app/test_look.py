"""Figures as text, and titles that stay titles in a label."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployrec_demo.look import duration, markdown, size

UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}


@given(st.floats(1e-6, 900))
def test_durations_keep_two_figures(seconds: float) -> None:
    value, unit = duration(seconds).split()
    assert float(value) * UNITS[unit] == pytest.approx(seconds, rel=0.006)
    assert 1 <= float(value) <= 1000


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (512, "512 B"), (4096, "4.0 KiB"), (3 * 2**19, "1.5 MiB"), (2**41, "2,048.0 GiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@given(st.text(st.sampled_from("ab 1.\\*_[](){}<>`$:#+-!|~")))
def test_markdown_hides_every_sign_and_loses_none(text: str) -> None:
    written = markdown(text)
    assert all(written[place - 1] == "\\" for place, sign in enumerate(written) if sign in "*_[]`$:" and place)
    assert not written or written[0] not in "*_[]`$:"
    bare, place = "", 0
    while place < len(written):
        place += written[place] == "\\"
        bare += written[place]
        place += 1
    assert bare == text
