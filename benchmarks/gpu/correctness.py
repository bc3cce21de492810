"""The GPU tests of the kernels, skips counted: a skipped test proves nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.measuring import machine, write_results

ROOT = Path(__file__).parents[2]


def main(out: Path) -> None:
    """Writes gpu-correctness.json; raises RuntimeError unless every test passed."""
    # Without tests/conftest.py: it needs more packages than the kernels do.
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "tests/kernels/gpu"]
    if importlib.util.find_spec("xdist"):
        command += ["-n", "8"]  # most of the time goes into some 350 compiles
    paths = os.pathsep.join([".", "kernels", os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "2000"},
    )
    print(done.stdout)
    summary = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-500:]
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", summary)}
    failures = re.findall(r"^(?:FAILED|ERROR) (.+)$", done.stdout, re.MULTILINE)
    write_results("gpu-correctness", {"machine": machine("cuda"), "counts": counts, "failures": failures}, out)
    if done.returncode or not counts.get("passed"):
        raise RuntimeError(f"expected every GPU test to pass; got {summary}; see the failures above")
