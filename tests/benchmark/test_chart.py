"""The chart shows every model's curves and does not change where the report does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from deployrec.benchmark import Peer
from tests.benchmark.test_findings import cell, report_of

pytest.importorskip("matplotlib", reason="needs matplotlib")


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


def test_cpp_has_a_line_beside_pythons_however_fast_either_is(tmp_path: Path) -> None:
    from deployrec.benchmark.chart import write_chart

    report = report_of(lambda t: 1e-4, lambda t: 5e-6 * t)
    for seconds in (1e-5, 1e-3):
        cells = [cell("step", history, seconds, backend="native") for history in (1, 200, 2000)]
        write_chart(replace(report, cells=[*report.cells, *cells]), tmp_path / "chart.svg")
        text = (tmp_path / "chart.svg").read_text()
        assert [f">m, {way}<" in text for way in ("one step", "one step in C++", "history read again")] == [True] * 3


def test_a_peers_line_says_what_it_reads_of_a_long_history(tmp_path: Path) -> None:
    from deployrec.benchmark.chart import write_chart

    report = report_of(lambda t: 1e-4, lambda t: 5e-6 * t)
    cells = [cell("encode", history, 1e-3, label=label) for label in ("short", "all") for history in (50, 200, 2000)]
    peers = [Peer("short", "lists", {}, 200, {}), Peer("all", "lists", {}, None, {})]
    write_chart(replace(report, cells=[*report.cells, *cells], peers=peers), tmp_path / "chart.svg")
    text = (tmp_path / "chart.svg").read_text()
    assert "short, newest 200 read again" in text
    assert "all, history read again" in text
