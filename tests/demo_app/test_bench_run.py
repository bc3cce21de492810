"""The benchmark in the background: it reports, it can be stopped, and a broken bundle is one line."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deployrec import benchmark
from deployrec.progress import Progress
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
    _wait(lambda: "history" in run.what)
    began = time.monotonic()
    run.cancel()
    assert time.monotonic() - began < 2
    assert not run.running
    assert run.report is None or run.report.cancelled
    assert run.start([bundle_of("recblr")], TINY)
    run.wait()
    assert run.report is not None
    assert not run.report.cancelled


def test_cancel_keeps_what_was_measured_though_a_call_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, free = threading.Event(), threading.Event()
    latency = benchmark.Latency(0.001, 0.002, 0.003, 0.001, 9)
    cells = [benchmark.Cell("m", "step", "onnxruntime", 1, 10, 30, 1, latency)]

    def endless(
        bundles: list[Path], config: benchmark.BenchmarkConfig, progress: Progress, cancelled: Callable[[], bool],
        watch: Callable[[Callable[[], benchmark.BenchmarkReport]], None],
    ) -> benchmark.BenchmarkReport:  # fmt: skip
        watch(lambda: benchmark.BenchmarkReport(TINY, {}, {}, {}, cells=cells))
        stuck.set()
        free.wait(30)
        return benchmark.BenchmarkReport(TINY, {}, {}, {}, cells=[*cells, *cells])

    monkeypatch.setattr(bench_run, "run_benchmark", endless)
    run = bench_run.BenchmarkRun()
    run.start([Path("b")], TINY)
    assert stuck.wait(10)
    began = time.monotonic()
    run.cancel()
    assert time.monotonic() - began < 2
    assert not run.running
    assert run.report is not None
    assert run.report.cancelled
    assert run.report.cells == cells
    free.set()
    run.wait()


def test_the_time_left_follows_from_the_pace() -> None:
    run = bench_run.BenchmarkRun()
    assert run.left is None
    run.total, run.done, run._begun = 30, 20, (time.monotonic() - 10, 0)
    assert run.left == pytest.approx(5, abs=0.5)


def test_a_cancelled_benchmark_has_the_rounds_that_were_run(bundle_of: Callable[[str], Path]) -> None:
    calls = [0]
    so_far: list[Callable[[], benchmark.BenchmarkReport]] = []

    def stop() -> bool:
        calls[0] += 1
        return calls[0] > 40

    many = replace(TINY, rounds=30)
    found = benchmark.run_benchmark([bundle_of("recblr")], many, cancelled=stop, watch=so_far.append)
    assert found.cancelled
    assert found.cells
    assert so_far[0]().cells == found.cells


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
    assert bench_run.config_of(False).backends == ("onnxruntime",)
    assert len(bench_run.config_of(True).catalogue) > 1
    assert set(bench_run.absent_backends()) <= {"onnxruntime-cuda", "torch-cuda", "tensorrt"}


def _wait(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not ready() and time.monotonic() < end:
        time.sleep(0.01)
    assert ready()
