"""Shows on a machine without a GPU that every section reaches its first call to CUDA, with the GPU machine's packages.

    python -m benchmarks.gpu.dry_run [SECTION ...]

Each section of run_all runs as it would there, but for a driver that answers the first call with an error, and for the
packages that would not be there. Prints where each one stopped; the exit code is 1 where anything else ended one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.gpu.run_all import ROOT, SECTIONS, command
from benchmarks.gpu.stub_driver import ALONG

WHEELS = dict.fromkeys(("engines", "training", "serving"), "polars rich")
"""Modules that PLAN.md sends along for a section."""
REACHED = (
    "FirstCudaCallError",
    "CUDA driver version is insufficient",
    "no CUDA-capable device",
    "compute capability 9.0",
)
"""What the stub driver, the plugins' drivers without one, and a library that does not support the GPU say."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], metavar="SECTION", help="default: all")
    sections = parser.parse_args().sections or list(SECTIONS)
    stopped = {section: stop(section) for section in sections}
    for section, line in stopped.items():
        print(f"{section:14} {line}")
    wrong = [section for section, line in stopped.items() if not reached(line)]
    if wrong:
        sys.exit(f"expected the first call to CUDA; got something else in {', '.join(wrong)}; see above")


def reached(line: str) -> bool:
    """Whether a section's end is that of one that wanted a GPU."""
    return any(words in line for words in REACHED)


def stop(section: str) -> str:
    """The last line that a section prints where no GPU is but one seems to be; a failed test's if it is another."""
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch, "sitecustomize.py").write_text("from benchmarks.gpu.stub_driver import install\n\ninstall()\n")
        sanitizer = Path(scratch, "compute-sanitizer")
        sanitizer.write_text('#!/bin/sh\nshift 4 # --tool NAME --error-exitcode CODE\nexec "$@"\n')
        sanitizer.chmod(0o755)
        modules = [scratch, *(str(ROOT / part) for part in (".", "kernels", "demo_app"))]
        done = subprocess.run(
            command(section, Path(scratch)),
            cwd=ROOT,
            env={
                **os.environ,
                "PATH": os.pathsep.join([scratch, os.environ["PATH"]]),
                "PYTHONPATH": os.pathsep.join(modules),
                ALONG: WHEELS.get(section, ""),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,  # what builds and compiles here does so on fewer cores
        )
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    tests = [line for line in lines if line.startswith(("FAILED ", "ERROR ")) and not reached(line)]
    return next((line for line in (*tests, *reversed(lines)) if line in tests or reached(line)), (lines or [""])[-1])


if __name__ == "__main__":
    main()
