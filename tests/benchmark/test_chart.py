"""The chart shows every model's curves and does not change where the report does not."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmark.test_findings import report_of

pytest.importorskip("matplotlib")


def test_the_svg_names_every_line_and_is_the_same_twice(tmp_path: Path) -> None:
    from deployrec.benchmark.chart import write_chart

    report = report_of(lambda t: 1e-4, lambda t: 5e-6 * t)
    for name in ("a.svg", "b.svg"):
        write_chart(report, tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    ElementTree.fromstring(text)
    assert "m, one step" in text
    assert "m, history read again" in text
    assert text == (tmp_path / "b.svg").read_text()
