"""A benchmark in the background: one at a time on a machine, with the time left, an end on request, and its report."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from deployrec.benchmark import BenchmarkConfig, BenchmarkReport, run_benchmark
from deployrec.runtime.backends.onnxruntime.providers import why_no_cuda

RECORDED = (
    Path(__file__).with_name("latency.json"),
    Path(__file__).parents[2] / "benchmarks" / "results" / "latency.json",
)
"""Where a recorded report may lie: packaged with the demo, or in a checkout."""
BACKENDS = ("onnxruntime", "torch", "onnxruntime-cuda", "torch-cuda")
HISTORY = (1, 10, 50, 200, 500, 1000, 2000)
GRACE = 0.5
"""Seconds that a cancelled run has for the call it is at; after that it goes on unheard until it notices."""


class BenchmarkRun:
    """`report` is the newest finished or cancelled one; `error` one line about why there is none."""

    def __init__(self) -> None:
        self.done, self.total, self.what = 0, 0, ""
        self.report: BenchmarkReport | None = None
        self.error = ""
        self._begun: tuple[float, int] = (0.0, 0)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._so_far: Callable[[], BenchmarkReport] | None = None
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._stop.is_set()

    @property
    def left(self) -> float | None:
        """Seconds that are left at the pace so far; None before that can be told."""
        begun, before = self._begun
        if not self.total or self.done <= before:
            return None
        return (time.monotonic() - begun) / (self.done - before) * (self.total - self.done)

    def start(self, bundles: Sequence[Path], config: BenchmarkConfig) -> bool:
        """Begins to measure; False while an earlier run is still on. A cancelled one's last call is waited for."""
        with self._lock:
            if self.running:
                return False
            earlier, self._stop, self._so_far = self._thread, threading.Event(), None
            self.done, self.total, self.what, self.error = 0, 0, "opening the bundle", ""
            arguments = (list(bundles), config, self._stop, earlier)
            self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
            self._thread.start()
            return True

    def cancel(self) -> None:
        """Ends the run within GRACE; what was measured until then becomes the report."""
        with self._lock:
            stop, thread = self._stop, self._thread
            stop.set()
        if thread:
            thread.join(GRACE)
        with self._lock:
            if thread and thread.is_alive() and self._so_far:
                self._keep(replace(self._so_far(), cancelled=True))

    def wait(self) -> None:
        """Until the run has ended."""
        if self._thread:
            self._thread.join()

    def _run(
        self, bundles: list[Path], config: BenchmarkConfig, stop: threading.Event, earlier: threading.Thread | None
    ) -> None:
        if earlier:
            earlier.join()

        def progress(done: int, total: int, what: str) -> None:
            if not stop.is_set():
                if total != self.total:
                    self._begun = time.monotonic(), done
                self.done, self.total, self.what = done, total, what

        def watch(so_far: Callable[[], BenchmarkReport]) -> None:
            self._so_far = so_far

        try:
            report = run_benchmark(bundles, config, progress=progress, cancelled=stop.is_set, watch=watch)
            if self._stop is stop:
                self._keep(report)
        except Exception as error:  # the page shows whatever ended the run
            if self._stop is stop:
                self.error = str(error).partition("\n")[0] or type(error).__name__

    def _keep(self, report: BenchmarkReport) -> None:
        if report.cells:
            self.report = report
        else:
            self.error = "Stopped before anything was measured"


def config_of(thorough: bool, rivals: Sequence[str] = (), backends: Sequence[str] = BACKENDS[:1]) -> BenchmarkConfig:
    """The history axis alone, in seconds; or all axes, in about a minute; each rival and backend takes as long."""
    config = BenchmarkConfig(
        history=HISTORY, batch=(), catalogue=(), threads=(), backends=tuple(backends), rivals=tuple(rivals),
        seconds=0.2, rounds=3, stages=False,
    )  # fmt: skip
    if thorough:
        config = replace(config, batch=(1, 4, 16, 64, 256), catalogue=(3_000, 10_000, 100_000), threads=(1, 2))
    return config


def recorded() -> BenchmarkReport | None:
    """The report that came with this code, if there is one."""
    path = next((path for path in RECORDED if path.is_file()), None)
    return BenchmarkReport.load(path) if path else None


def absent_backends() -> dict[str, str]:
    """GPU backends that cannot be measured here, and why."""
    import torch

    found = {}
    if reason := why_no_cuda():
        found["onnxruntime-cuda"] = reason
    if not torch.cuda.is_available():
        found["torch-cuda"] = "no GPU that torch can use"
    if find_spec("tensorrt") is None:
        found["tensorrt"] = "TensorRT is not installed"
    return found
