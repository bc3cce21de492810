"""Engines of both models, built and run by TensorRT for RTX, against the bundle's float64 answers and ONNX Runtime's.

Needs TensorRT's headers, tensorrt-cu13-bindings and onnxruntime-ep-nv-tensorrt-rtx-cu13. Where the library refuses
the GPU, its own message is the result. It is TensorRT for RTX, not the enterprise library.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.plugin import drivers
from benchmarks.measuring import machine, write_results
from deployrec.data import load_dataset
from deployrec.export import export_bundle
from deployrec.models import build_model
from deployrec.runtime.backends.tensorrt.api import PLUGIN_VARIABLE
from tests.plugins_trt.rtx_environment import lay_out, missing


def main(out: Path) -> None:
    """Writes gpu-engines.json: per model, what each command printed and how it ended; or why none was run."""
    reason, cases = refused() or missing(), []
    if reason is None:
        with tempfile.TemporaryDirectory() as scratch, drivers() as folder:
            libraries = Path(scratch) / "libraries"
            libraries.mkdir()
            plugin = folder / "src" / "plugin" / "libdeployrec_plugin.so"
            environment = {**lay_out(libraries), PLUGIN_VARIABLE: str(plugin)}
            for key in ("recblr", "glintru"):
                cases.append(run_model(key, Path(scratch) / key, environment))
                write_results("gpu-engines", {"machine": machine("cuda"), "not_run": reason, "cases": cases}, out)
    if reason:
        write_results("gpu-engines", {"machine": machine("cuda"), "not_run": reason, "cases": cases}, out)
        print(f"not run: {reason}")
    for case in cases:
        print(case["model"], *(f"{name}: {line}" for name, line in case["last_line"].items()), sep="\n  ")


def refused() -> str | None:
    """Why TensorRT for RTX does not build for this GPU, by the compute capabilities that its manual lists."""
    major, minor = torch.cuda.get_device_capability()
    if (major, minor) in ((7, 5), (8, 6), (8, 9)) or major == 12:
        return None
    return f"TensorRT for RTX does not support compute capability {major}.{minor} (only 7.5, 8.6, 8.9 and 12.x)"


def run_model(key: str, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Builds the plans, then holds them and ONNX Runtime's graphs against the same float64 answers."""
    dataset = load_dataset("sample")
    torch.manual_seed(0)
    export_bundle(build_model(key, dataset.num_items, {"dim": 64}), dataset, folder)
    commands = {
        "build": ["build", "engine", str(folder)],
        "tensorrt": ["verify", str(folder), "--backend", "tensorrt"],
        "onnxruntime": ["verify", str(folder)],
    }
    ended = {name: call(arguments, environment) for name, arguments in commands.items()}
    return {
        "model": key,
        "returncode": {name: done.returncode for name, done in ended.items()},
        "last_line": {name: (done.stdout.strip().splitlines() or [""])[-1] for name, done in ended.items()},
        "output": {name: done.stdout for name, done in ended.items()},
    }


def call(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deployrec", *arguments]
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
