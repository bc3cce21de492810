"""What benchmark scripts share: timing on a CPU or a GPU, the machine's name, results as JSON, errors in one line."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from deployrec.errors import DeployrecError
from deployrec.files import atomic_write
from deployrec.machine import processor_name

RESULTS = Path(__file__).parent / "results"
"""What was measured for the README and is tracked; written only with --commit-results."""
UNTRACKED = Path(__file__).parent / "out"
"""Where results go otherwise; git ignores it."""
SHORT = 2e-3
"""Seconds below which a call on a GPU may end before Python has launched all of it."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median and fastest of `calls`."""

    median: float
    fastest: float
    calls: int


def time_together(calls: Mapping[str, Callable[[], object]], device: str, seconds: float = 0.5) -> dict[str, Timing]:
    """Every call once a round, so that a busy machine slows all alike; 5 to 200 rounds, `seconds` for each call.

    On a GPU between events; a fill of 2 GiB before each call empties the L2 cache and hides the launch behind itself.
    What is shorter than that fill is replayed as a CUDA graph where it can be captured: not Python is measured.
    """
    for call in calls.values():
        call()
    timer = _GpuTimer() if device == "cuda" else _CpuTimer()
    calls = {name: timer.prepared(call) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    rounds, stop = 0, time.perf_counter() + seconds * len(calls)
    while rounds < 5 or (rounds < 200 and time.perf_counter() < stop):
        rounds += 1
        for name, call in calls.items():
            times[name].append(timer.seconds(call))
    return {name: Timing(statistics.median(each), min(each), len(each)) for name, each in times.items()}


def time_call(call: Callable[[], object], device: str, seconds: float = 0.5) -> Timing:
    """One call by itself, as `time_together`."""
    return time_together({"call": call}, device, seconds)["call"]


def copy_bandwidth(device: str, megabytes: int) -> float:
    """Bytes a second, read plus written, of a plain copy between two buffers that no cache holds."""
    source = torch.ones(megabytes * 2**20 // 4, device=device)
    target = torch.empty_like(source)
    timing = time_call(lambda: target.copy_(source), device)
    return 2 * source.numel() * 4 / timing.median


def machine(device: str) -> dict[str, Any]:
    """Where a number was measured: device, processor, threads, versions, time."""
    packages = ("torch", "triton", "numpy", "accelerated-scan", "flash-linear-attention")
    versions = {name: _version(name) for name in packages}
    about = {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor_name(),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version for name, version in versions.items() if version},
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if device == "cuda":
        about |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return about


def add_out(parser: argparse.ArgumentParser) -> None:
    """Gives a script the options --out FOLDER and --commit-results; `arguments.out` is None where neither was given."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--out", type=Path, metavar="FOLDER", help="for the results; default: benchmarks/out, ignored by git"
    )
    where.add_argument(
        "--commit-results", action="store_const", const=RESULTS, dest="out", help="write the tracked results instead"
    )


def write_results(name: str, results: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Writes folder/NAME.json in one move and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    atomic_write(path, json.dumps(results, indent=2, default=_plain) + "\n")
    return path


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@contextmanager
def clear_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Ends a script with one line and exit code 2 where the caller can mend what went wrong."""
    try:
        yield
    except DeployrecError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


class _CpuTimer:
    def prepared(self, call: Callable[[], object]) -> Callable[[], object]:
        return call

    def seconds(self, call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start


class _GpuTimer:
    def __init__(self) -> None:
        self.fill = torch.empty(2**31, dtype=torch.int8, device="cuda")

    def prepared(self, call: Callable[[], object]) -> Callable[[], object]:
        """The call as a graph to replay, or itself where it is long or cannot be captured."""
        if self.seconds(call) > SHORT:
            return call
        side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                call()
        torch.cuda.synchronize()
        try:
            with torch.cuda.graph(graph):
                call()
        except RuntimeError:
            torch.cuda.synchronize()
            return call
        return graph.replay

    def seconds(self, call: Callable[[], object]) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.fill.zero_()
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _plain(value: object) -> Any:
    if isinstance(value, Timing):
        return asdict(value)
    raise TypeError(f"expected a JSON value or a Timing; got {type(value).__name__}; convert it")
