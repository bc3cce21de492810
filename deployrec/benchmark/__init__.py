"""The measuring core used by the command line, the demo and benchmarks/: `run_benchmark` gives a `BenchmarkReport`."""

from deployrec.benchmark.config import AXES, BenchmarkConfig, Point
from deployrec.benchmark.findings import Finding, Slope, break_even, findings, slope
from deployrec.benchmark.lineup import backend_names
from deployrec.benchmark.report import ENCODE, STEP, BenchmarkReport, Cell, Peer, Skipped, Stage, Subject
from deployrec.benchmark.run import run_benchmark
from deployrec.benchmark.timing import Latency, measure, step_latency, window_latency

__all__ = [
    "AXES",
    "ENCODE",
    "STEP",
    "BenchmarkConfig",
    "BenchmarkReport",
    "Cell",
    "Finding",
    "Latency",
    "Peer",
    "Point",
    "Skipped",
    "Slope",
    "Stage",
    "Subject",
    "backend_names",
    "break_even",
    "findings",
    "measure",
    "run_benchmark",
    "slope",
    "step_latency",
    "window_latency",
]
