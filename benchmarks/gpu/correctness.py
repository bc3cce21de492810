"""The GPU tests of the kernels, skips counted: a skipped test proves nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import IO

from benchmarks.measuring import machine, write_results

ROOT = Path(__file__).parents[2]
LONGEST, LIMIT = 60, 200
"""Seconds of one test, and of all of them: below run_all's limit, so that what was found is written."""


def main(out: Path) -> None:
    """Writes gpu-correctness.json; raises RuntimeError unless every test passed."""
    # Without tests/conftest.py: it needs more packages than the kernels do.
    command = [sys.executable, "-m", "pytest", "-v", "--noconftest", "-p", "no:cacheprovider", "tests/kernels/gpu"]
    if importlib.util.find_spec("xdist"):
        command += ["-n", "8"]  # most of the time goes into some 350 compiles
    if importlib.util.find_spec("pytest_timeout"):
        command += [f"--timeout={LONGEST}", "--timeout-method=thread"]  # ends a process that waits for its GPU
    paths = os.pathsep.join([".", "kernels", os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "2000", "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryFile("w+") as log:
        code = run(command, environment, log)
        log.seek(0)
        printed = log.read()
    print(printed)
    ends = re.findall(r"^(?:\[gw\d+\] \[ *\d+%\] (\w+) tests/|tests/.* (\w+) +\[)", printed, re.MULTILINE)
    counts = dict(Counter((parallel or alone).lower() for parallel, alone in ends))
    failures = re.findall(r"^(?:FAILED|ERROR) (.+)$", printed, re.MULTILINE)
    write_results("gpu-correctness", {"machine": machine("cuda"), "counts": counts, "failures": failures}, out)
    if code or not counts.get("passed"):
        raise RuntimeError(f"expected every GPU test to pass; got {counts}, exit code {code}; see the failures above")


def run(command: list[str], environment: dict[str, str], log: IO[str]) -> int | None:
    """The exit code; None where it was still at work after LIMIT, when what it printed so far tells where."""
    try:
        done = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, check=False, cwd=ROOT, env=environment, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode
