"""A benchmark in the background: one at a time on a machine, with progress, an end on request, and its report."""

from __future__ import annotations

import threading
from collections.abc import Sequence
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


class BenchmarkRun:
    """`report` is the newest finished or cancelled one; `error` one line about why there is none."""

    def __init__(self) -> None:
        self.done, self.total, self.what = 0, 0, ""
        self.report: BenchmarkReport | None = None
        self.error = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, bundles: Sequence[Path], config: BenchmarkConfig) -> bool:
        """Begins to measure; False while an earlier run is still on."""
        with self._lock:
            if self.running:
                return False
            self._stop.clear()
            self.done, self.total, self.what, self.error = 0, 0, "opening the bundle", ""
            self._thread = threading.Thread(target=self._run, args=(list(bundles), config), daemon=True)
            self._thread.start()
            return True

    def cancel(self) -> None:
        """Ends the run after the cell it is at; what was measured until then becomes the report."""
        self._stop.set()

    def wait(self) -> None:
        """Until the run has ended."""
        if self._thread:
            self._thread.join()

    def _run(self, bundles: list[Path], config: BenchmarkConfig) -> None:
        try:
            self.report = run_benchmark(bundles, config, progress=self._progress, cancelled=self._stop.is_set)
        except Exception as error:  # the page shows whatever ended the run
            self.error = str(error).partition("\n")[0] or type(error).__name__

    def _progress(self, done: int, total: int, what: str) -> None:
        self.done, self.total, self.what = done, total, what


def config_of(thorough: bool, rivals: Sequence[str] = ()) -> BenchmarkConfig:
    """The history axis alone, in seconds; or all axes, in about a minute."""
    if thorough:
        return BenchmarkConfig(
            history=HISTORY, batch=(1, 4, 16, 64, 256), catalogue=(3_000, 10_000, 100_000), threads=(1, 2),
            backends=BACKENDS, rivals=tuple(rivals), seconds=0.2, rounds=3, stages=False,
        )  # fmt: skip
    return BenchmarkConfig(
        history=HISTORY, batch=(), catalogue=(), threads=(), backends=BACKENDS, rivals=tuple(rivals), seconds=0.2,
        rounds=3, stages=False,
    )  # fmt: skip


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
