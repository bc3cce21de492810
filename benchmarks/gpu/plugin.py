"""The TensorRT plugins' CUDA kernels: against float64, then their bandwidth, and the time of cuDNN's GRU.

Builds plugins_trt's drivers (or takes the folder that DEPLOYREC_DRIVERS names) and runs them; no TensorRT is needed:
without its headers the kernels are driven directly instead of through the plugins' enqueue.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import machine, write_results

SOURCE = Path(__file__).parents[2] / "plugins_trt"
GRU_SHAPES = ((2048, 200, 64), (2048, 200, 128), (256, 200, 64), (1, 200, 64), (1, 200, 128))
WARM_UPS, RUNS = 5, 40


def main(out: Path) -> None:
    """Writes gpu-plugin.json; raises RuntimeError if a check fails."""
    torch.backends.cudnn.allow_tf32 = False
    with drivers() as folder:
        command = [*driver(folder), "--measure"]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"expected {command[0]} to pass; got:\n{done.stdout}")
    result: dict[str, Any] = next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    result |= {"driver": Path(command[0]).name, "cudnn_gru": cudnn_times()}
    write_results("gpu-plugin", {"machine": machine("cuda"), **result}, out)
    print(json.dumps(result, indent=1))


@contextmanager
def drivers() -> Iterator[Path]:
    """The folder of built drivers: the one that DEPLOYREC_DRIVERS names, or built here for this machine's GPU."""
    if "DEPLOYREC_DRIVERS" in os.environ:
        yield Path(os.environ["DEPLOYREC_DRIVERS"])
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield build(Path(scratch))


def build(folder: Path) -> Path:
    """Builds the drivers for this machine's GPU."""
    major, minor = torch.cuda.get_device_capability()
    options = ("-DCMAKE_BUILD_TYPE=Release", "-DDEPLOYREC_TESTS=ON", f"-DCMAKE_CUDA_ARCHITECTURES={major}{minor}-real")
    subprocess.run(["cmake", "-S", SOURCE, "-B", folder, "-G", "Ninja", *options], check=True)
    subprocess.run(["cmake", "--build", folder], check=True)
    return folder


def driver(folder: Path) -> list[str]:
    """The command that drives the plugins' enqueue, or the kernels where there is no plugin."""
    enqueue, library = folder / "tests" / "drive_enqueue", folder / "src" / "plugin" / "libdeployrec_plugin.so"
    return [str(enqueue), str(library)] if enqueue.exists() else [str(folder / "tests" / "drive_kernels")]


def cudnn_times() -> list[dict[str, Any]]:
    """Milliseconds of torch's GRU (cuDNN) with inputs as wide as its state; it includes the input product."""
    rows = []
    for batch, time, dim in GRU_SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            gru = torch.nn.GRU(dim, dim, bias=False, batch_first=True, device="cuda", dtype=dtype).eval()
            gru.flatten_parameters()
            inputs = torch.randn(batch, time, dim, device="cuda", dtype=dtype)
            with torch.inference_mode():
                milliseconds = median_milliseconds(gru, inputs)
            rows.append({"shape": [batch, time, dim], "type": str(dtype).removeprefix("torch."), "ms": milliseconds})
    return rows


def median_milliseconds(call: torch.nn.Module, inputs: torch.Tensor) -> float:
    times = []
    for _ in range(WARM_UPS + RUNS):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call(inputs)
        stop.record()
        stop.synchronize()
        times.append(start.elapsed_time(stop))
    return sorted(times[WARM_UPS:])[RUNS // 2]
