"""The benchmark in the background: it reports, it can be stopped, and a broken bundle is one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deployrec import benchmark
from deployrec_demo import bench_run

TINY = benchmark.BenchmarkConfig(
    history=(1, 20), batch=(), catalogue=(), threads=(), backends=("onnxruntime",), seconds=0.02, rounds=1, stages=False
)


def test_a_run_reports_with_progress(bundle_of: Callable[[str], Path]) -> None:
    run = bench_run.BenchmarkRun()
    assert run.start([bundle_of("recblr")], TINY)
    run.wait()
    assert run.error == ""
    assert run.report is not None
    assert {(cell.mode, cell.history) for cell in run.report.cells} >= {("step", 1), ("encode", 20)}
    assert run.done > 0
    assert run.total >= run.done
    assert "recblr" in run.what
    assert not run.running


def test_a_second_run_waits_and_cancel_ends_the_first(bundle_of: Callable[[str], Path]) -> None:
    run = bench_run.BenchmarkRun()
    long = bench_run.config_of(thorough=True)
    assert run.start([bundle_of("recblr")], long)
    assert not run.start([bundle_of("recblr")], long)
    run.cancel()
    run.wait()
    assert run.report is not None
    assert run.report.cancelled
    assert run.start([bundle_of("recblr")], TINY)
    run.wait()
    assert run.report is not None
    assert not run.report.cancelled


def test_a_broken_bundle_is_one_line(bundle_of: Callable[[str], Path], tmp_path: Path) -> None:
    broken = shutil.copytree(bundle_of("recblr"), tmp_path / "broken")
    (broken / "step.onnx").write_bytes(b"")
    run = bench_run.BenchmarkRun()
    run.start([broken], TINY)
    run.wait()
    assert run.report is None
    assert run.error.startswith("expected ")
    assert "\n" not in run.error


def test_recorded_report_is_read_from_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "RECORDED", (tmp_path / "none.json", tmp_path / "latency.json"))
    assert bench_run.recorded() is None
    benchmark.BenchmarkReport(TINY, {"processor": "abacus"}, {}, {}).save(tmp_path / "latency.json")
    report = bench_run.recorded()
    assert report is not None
    assert report.machine == {"processor": "abacus"}


def test_the_short_measurement_varies_the_history_alone() -> None:
    assert bench_run.config_of(False, ["sasrec"]).batch == ()
    assert bench_run.config_of(False, ["sasrec"]).rivals == ("sasrec",)
    assert len(bench_run.config_of(True).catalogue) > 1
    assert set(bench_run.absent_backends()) <= {"onnxruntime-cuda", "torch-cuda", "tensorrt"}
