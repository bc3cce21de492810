"""compute-sanitizer over the plugins' CUDA kernels: every access in bounds, no race in shared memory."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from benchmarks.gpu.plugin import driver, drivers
from benchmarks.measuring import machine, write_results

TOOLS = ("memcheck", "racecheck")


def main(out: Path) -> None:
    """Writes gpu-sanitizer.json, each tool's last line; raises RuntimeError if a tool found something."""
    if shutil.which("compute-sanitizer") is None:
        raise RuntimeError("expected compute-sanitizer on the PATH; got none; install the CUDA toolkit")
    found = {}
    with drivers() as folder:
        for tool in TOOLS:
            command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "3", *driver(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = (done.stdout + done.stderr).strip().splitlines()
            found[tool] = {"returncode": done.returncode, "last_line": lines[-1] if lines else ""}
            print(tool, found[tool])
            write_results("gpu-sanitizer", {"machine": machine("cuda"), "tools": found}, out)
    if any(each["returncode"] for each in found.values()):
        raise RuntimeError(f"expected no error from {', '.join(TOOLS)}; got {found}; see its output")
