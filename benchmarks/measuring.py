"""What every benchmark script shares: timing on a CPU or a GPU, the machine's name, results as JSON."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: median and fastest of `calls`."""

    median: float
    fastest: float
    calls: int


def time_call(call: Callable[[], object], device: str, seconds: float = 0.5, most: int = 200) -> Timing:
    """One warm-up call, then calls until `seconds` are over (at least 3, at most `most`)."""
    call()
    times = _gpu_times(call, seconds, most) if device == "cuda" else _cpu_times(call, seconds, most)
    return Timing(statistics.median(times), min(times), len(times))


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
        "device": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "processor": _processor(),
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


def write_results(name: str, results: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Writes folder/NAME.json in one move and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    unfinished = path.with_suffix(".json.tmp")
    unfinished.write_text(json.dumps(results, indent=2, default=_plain) + "\n")
    os.replace(unfinished, path)
    return path


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cpu_times(call: Callable[[], object], seconds: float, most: int) -> list[float]:
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < 3 or (len(times) < most and time.perf_counter() < stop):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def _gpu_times(call: Callable[[], object], seconds: float, most: int) -> list[float]:
    """Between events; a fill of 512 MB before each call empties the L2 cache and hides the launch behind itself."""
    fill = torch.empty(2**29, dtype=torch.int8, device="cuda")
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    once = time.perf_counter() - start
    events = []
    for _ in range(max(3, min(most, int(seconds / max(once, 1e-5))))):
        pair = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        fill.zero_()
        pair[0].record()
        call()
        pair[1].record()
        events.append(pair)
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1e3 for begin, end in events]


def _processor() -> str:
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _plain(value: object) -> Any:
    if isinstance(value, Timing):
        return asdict(value)
    raise TypeError(f"expected a JSON value or a Timing; got {type(value).__name__}; convert it")
