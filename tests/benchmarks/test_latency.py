"""benchmarks/latency.py as it is called: by its path, from anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "latency.py"


def test_data_that_are_not_there_end_it_in_one_line(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, SCRIPT, "--data", "nowhere.csv", "--out", tmp_path / "results"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert "got nowhere.csv" in line
    assert not list(tmp_path.iterdir())
