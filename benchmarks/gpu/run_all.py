"""Runs every GPU section, correctness first, each in a process of its own.

    python -m benchmarks.gpu.run_all [--only SECTION ...] [--out FOLDER]

A section is a module of this package with a `main(out: Path) -> None` that writes its results as JSON into `out`,
after every case, and raises where it fails; adding one is a new file and a line in SECTIONS. A section that fails, or
takes longer than its limit, is marked and the others run all the same. Writes gpu-run.json with the machine and every
outcome; the exit code is 1 where a section failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import UNTRACKED, add_out, machine, write_results

ROOT = Path(__file__).parents[2]
SECTIONS = {
    "correctness": 240,
    "plugin": 60,
    "kernels": 480,
    "few_rows": 120,
    "long_user": 60,
    "scan_padding": 180,
    "sanitizer": 240,
    "engines": 240,
    "training": 300,
    "serving": 120,
}
"""In running order, each with its limit in seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), help="these sections")
    add_out(parser)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("expected a CUDA GPU; got none; run this on a machine with one")
    out = arguments.out or UNTRACKED
    outcomes: dict[str, Any] = {}
    for section in (name for name in SECTIONS if name in arguments.only):
        print(f"== {section}", flush=True)
        outcomes[section] = run_section(section, out)
        write_results("gpu-run", {"machine": machine("cuda"), "sections": outcomes}, out)
    failed = [name for name, outcome in outcomes.items() if outcome["failed"]]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run_section(section: str, out: Path) -> dict[str, Any]:
    """How a section ended ("" or what failed) and its seconds; a crash of the GPU stays in its process."""
    start, limit = time.perf_counter(), SECTIONS[section]
    try:
        code = subprocess.run(command(section, out), cwd=ROOT, check=False, timeout=limit).returncode
        failed = f"exit code {code}" if code else ""
    except subprocess.TimeoutExpired:
        failed = f"not done after {limit} s"
    return {"failed": failed, "seconds": round(time.perf_counter() - start, 1)}


def command(section: str, out: Path) -> list[str]:
    """Runs one section in a process of its own."""
    program = f"from pathlib import Path; from benchmarks.gpu.{section} import main; main(Path({str(out)!r}))"
    return [sys.executable, "-c", program]


if __name__ == "__main__":
    main()
