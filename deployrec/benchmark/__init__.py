"""The measuring core used by the command line, the demo and benchmarks/: `run_benchmark` gives a `BenchmarkReport`."""

from deployrec.benchmark.config import AXES, BenchmarkConfig, Point
from deployrec.benchmark.report import ENCODE, STEP, BenchmarkReport, Cell, Skipped, Stage, Subject, break_even
from deployrec.benchmark.run import run_benchmark
from deployrec.benchmark.timing import Latency, measure, step_latency

__all__ = [
    "AXES",
    "ENCODE",
    "STEP",
    "BenchmarkConfig",
    "BenchmarkReport",
    "Cell",
    "Latency",
    "Point",
    "Skipped",
    "Stage",
    "Subject",
    "break_even",
    "measure",
    "run_benchmark",
    "step_latency",
]
