"""Every GPU section, with only the packages of the GPU machine, gets as far as its first call to CUDA."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.dry_run import reached, stop
from benchmarks.gpu.run_all import ROOT, SECTIONS

BUILT = ("plugin", "sanitizer")
"""Sections that build the plugins' CUDA drivers."""


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_reaches_its_first_cuda_call(section: str) -> None:
    missing = [tool for tool in ("nvcc", "cmake", "ninja") if shutil.which(tool) is None]
    if section in BUILT and missing:
        pytest.skip(f"needs {', '.join(missing)}")
    line = stop(section)
    assert reached(line), line


def test_a_package_that_is_not_there_is_seen(tmp_path: Path) -> None:
    """Else the run above would prove nothing."""
    program = "from benchmarks.gpu.stub_driver import install; install(); import torch, numpy; import typer"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "No module named 'typer'" in done.stderr
    assert not reached(done.stderr)
