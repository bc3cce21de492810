"""benchmarks/step_ratios.py: both states answer, ratios are those of rounds, and every line says whether it is met."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks import step_ratios
from benchmarks.step_ratios import BEFORE, CELLS, MANY_64, MANY_512, NOW, ONE, STEP_1, Judged, Times
from deployrec.benchmark.replay import Replay
from deployrec.data import Dataset

ROOT = Path(__file__).parents[2]
in_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository's history")


@in_git
def test_both_states_answer_every_cell(sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_ratios, "SETS", {1: 2, 64: 1, 512: 1})
    monkeypatch.setattr(step_ratios, "SPLIT_CALLS", {1: 3, 512: 3})
    monkeypatch.setattr(step_ratios, "TURN", 1e-4)
    cells = [cell for cell in CELLS if cell.batch == 1]
    report = step_ratios.measured(
        tmp_path.resolve(),
        Replay(sample, 0),
        step_ratios.revision("HEAD"),
        rounds=2,
        core=max(os.sched_getaffinity(0)),
        cells=cells,
        num_items=sample.num_items,
    )
    found = {(cell["who"], cell["cell"]): cell for cell in report["cells"]}
    assert set(found) == {(who, str(cell)) for who in (NOW, BEFORE) for cell in cells}
    assert all(len(cell["of_rounds"]) == 2 and cell["ms"] > 0 for cell in found.values())
    assert len(report["skipped"]) == len(step_ratios.REPLAY)
    for who in (NOW, BEFORE):
        assert report["sizes"][who]["items.bin"] == 4 * 64 * (sample.num_items + 1)
    figures = {line["what"]: line["figure"] for line in report["judged"]}
    assert figures[f"{ONE}: now / before"] > 0
    assert 0 < figures[f"{ONE}: around its graph"] < 1e3 * found[NOW, str(ONE)]["ms"] * 20
    assert figures[f"{MANY_512}: ONNX Runtime's share"] is None
    printed(report)


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    # The machine was four times slower in the last round: for both.
    times = Times({(NOW, ONE): [1.0, 1.1, 4.0], (BEFORE, ONE): [2.0, 2.2, 8.0]})
    assert times.ratio(BEFORE, ONE, NOW, ONE) == pytest.approx(2)
    assert times.median(NOW, ONE) == 1.1
    assert times.ratio(BEFORE, MANY_64, NOW, ONE) is None


def test_limits_are_kept_on_their_own_side() -> None:
    assert Judged("a", 3.0, 3.0, at_least=True).met
    assert Judged("a", 2.9, 3.0, at_least=True).met is False
    assert Judged("a", 2.9, 3.0, at_least=False).met
    assert Judged("a", None, 3.0, at_least=True).met is None
    assert Judged("a", 3.0, None, at_least=True).met is None


def test_the_verdict_is_about_now_over_before_and_peers_over_now() -> None:
    rounds = {(NOW, cell): [1.0] for cell in CELLS} | {(BEFORE, cell): [4.0] for cell in CELLS}
    rounds[step_ratios.OPENVINO, step_ratios._list(1)] = [5.5]
    split = {"seconds": [10e-6, 10e-6], "graphs": [8e-6, 8e-6]}
    nodes = {who: {"nodes": {"step": 55}} for who in (NOW, BEFORE)}
    lines = {line.what: line for line in step_ratios.judged(Times(rounds), {ONE: split, MANY_512: split}, nodes)}
    assert lines[f"{MANY_64}: now / before"].figure == 0.25
    assert lines[f"{MANY_512}: events/s, now / before"].figure == 4
    assert lines[f"{ONE}: {step_ratios.OPENVINO} / now"].met
    assert lines[f"{STEP_1}: {step_ratios.OPENVINO} / now"].met is False
    assert lines[f"{MANY_512}: ONNX Runtime's share"].figure == pytest.approx(80)
    assert lines[f"{ONE}: around its graph"].figure == pytest.approx(2)


def test_turns_are_timed_by_their_medians_in_every_round() -> None:
    asked: list[int] = []

    def timer(calls: int) -> np.ndarray:
        asked.append(calls)
        return np.full(calls, 1.0)

    times = step_ratios.in_rounds({(NOW, ONE): timer}, rounds=4)
    assert times.rounds[NOW, ONE] == [1e3] * 4
    assert asked[-5:] == [step_ratios.CALLS] * 5


@in_git
def test_an_unknown_revision_ends_it_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.step_ratios", "--before", "nowhere", "--out", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "expected a revision of this repository; got nowhere" in ended.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def printed(report: dict) -> None:
    """The tables hold their rows, whole."""
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(step_ratios.times_table(report), step_ratios.sizes_table(report), step_ratios.verdict_table(report))
    text = console.export_text()
    assert "k = 10" in text
    assert "met" in text or "missed" in text
    assert "not measured" in text
