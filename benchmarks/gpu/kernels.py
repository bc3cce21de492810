"""benchmarks/kernels.py on the GPU."""

from __future__ import annotations

from pathlib import Path

from benchmarks import kernels


def main(out: Path) -> None:
    """Writes kernels-cuda.json and its plot."""
    kernels.run("cuda", out)
