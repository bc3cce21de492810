"""benchmarks/scan_padding.py on the GPU, at the paper's batch of 2048."""

from __future__ import annotations

from pathlib import Path

from benchmarks import scan_padding


def main(out: Path) -> None:
    """Writes scan_padding-cuda.json."""
    scan_padding.run("cuda", scan_padding.BATCH["cuda"], out)
