"""Runs every GPU section, correctness first, each in a process of its own.

    python -m benchmarks.gpu.run_all [--only SECTION ...] [--out FOLDER]

A section is a module of this package with a `main(out: Path) -> None` that writes its results as JSON into `out`
and raises where it fails; adding one is a new file and a line in SECTIONS. After a failed correctness section the
measurements are not run: a wrong kernel has no speed. Writes gpu-run.json with the machine and every outcome.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import RESULTS, machine, write_results

SECTIONS = ["correctness", "kernels", "long_user", "scan_padding", "plugin", "engines", "training", "serving"]
"""In running order."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="these sections")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("expected a CUDA GPU; got none; run this on a machine with one")
    outcomes: dict[str, Any] = {}
    for section in (name for name in SECTIONS if name in arguments.only):
        print(f"== {section}", flush=True)
        outcomes[section] = run_section(section, arguments.out)
        write_results("gpu-run", {"machine": machine("cuda"), "sections": outcomes}, arguments.out)
        if section == "correctness" and outcomes[section]["returncode"]:
            sys.exit("the kernels are wrong on this machine: nothing was measured")
    failed = [name for name, outcome in outcomes.items() if outcome["returncode"]]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run_section(section: str, out: Path) -> dict[str, Any]:
    """Return code and seconds of one section; a crash of the GPU stays in its process."""
    program = f"from pathlib import Path; from benchmarks.gpu.{section} import main; main(Path({str(out)!r}))"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False)
    return {"returncode": done.returncode, "seconds": round(time.perf_counter() - start, 1)}


if __name__ == "__main__":
    main()
