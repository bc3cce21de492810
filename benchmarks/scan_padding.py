"""Does a scan need padding? The RecBLR paper's Table 5 on our code.

    python benchmarks/scan_padding.py [--device cuda]

Trains one step of RecBLR with its scan computed four ways: one step after the other; a log-depth parallel scan that
needs a power of two, with the sequences padded before the model ("sequence padding": every layer works on the
padding) or only the scan's inputs padded ("embedding padding"); and ours, which takes any length. T = 200 and 100
are padded to 256 and 128, T = 257 to 512. Writes scan_padding-DEVICE.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import UNTRACKED, add_out, machine, markdown, time_together, write_results
from benchmarks.rivals import bd_lru_coefficients, doubling, eager, power_of_two
from deployrec.models.recblr import RecBLR, RecBLRConfig

LENGTHS = (200, 100, 257)
NUM_ITEMS = 3416
BATCH = {"cpu": 32, "cuda": 2048}

Scan = Callable[..., tuple[Tensor, Tensor]]


def with_scan(scan: Callable[[Tensor, Tensor], Tensor]) -> Scan:
    """`bd_lru` with its recurrence computed by `scan(a, b)` over full rows from a zero state."""

    def bd_lru(x: Tensor, r: Tensor, i: Tensor, lambda_: Tensor, **_: Tensor) -> tuple[Tensor, Tensor]:
        hidden = scan(*bd_lru_coefficients(x, r, i, lambda_))
        return hidden, hidden[:, -1]

    return bd_lru


def embedding_padded(a: Tensor, b: Tensor) -> Tensor:
    """The parallel scan on inputs padded to a power of two in front, as the published code does."""
    room = (0, 0, power_of_two(a.shape[1]) - a.shape[1], 0)
    return doubling(F.pad(a, room), F.pad(b, room))[:, room[2] :]


def training_step(model: RecBLR, items: Tensor, scan: Scan | None) -> Callable[[], None]:
    """Forward and backward of the encoder; the loss over the catalogue is the same for all and left out."""
    lengths = torch.full((items.shape[0],), items.shape[1], device=items.device)
    grad = torch.linspace(-1, 1, items.numel() * model.config.dim, device=items.device).view(*items.shape, -1)

    def step() -> None:
        replaced = mock.patch("deployrec.models.recblr.bd_lru", scan) if scan else mock.patch.dict({})
        with replaced:
            hidden, _ = model.encode(items, lengths)
            model.zero_grad()
            hidden.backward(grad)

    return step


def variants(items: Tensor) -> dict[str, tuple[Tensor, Scan | None]]:
    """name -> (items as the model gets them, the scan it runs; None = ours)."""
    time = items.shape[1]
    padded = F.pad(items, (power_of_two(time) - time, 0))
    return {
        "serial scan": (items, with_scan(eager)),
        "parallel scan, sequence padding": (padded, with_scan(doubling)),
        "parallel scan, embedding padding": (items, with_scan(embedding_padded)),
        "deployrec, no padding": (items, None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="sequences a step; 2048, as the paper, on a GPU, 32 on a CPU")
    add_out(parser)
    arguments = parser.parse_args()
    run(arguments.device, arguments.batch or BATCH[arguments.device], arguments.out or UNTRACKED)


def run(device: str, batch: int, out: Path) -> None:
    """Measures, prints and writes scan_padding-DEVICE.json into `out`."""
    torch.manual_seed(0)
    model = RecBLR(NUM_ITEMS, RecBLRConfig()).to(device).train()
    results: dict[str, Any] = {"machine": machine(device), "batch": batch, "dim": model.config.dim, "seconds": {}}
    for time in LENGTHS:
        items = torch.randint(1, NUM_ITEMS + 1, (batch, time), device=device)
        steps = {name: training_step(model, given, scan) for name, (given, scan) in variants(items).items()}
        for name, timing in time_together(steps, device, seconds=3.0).items():
            results["seconds"].setdefault(name, {})[str(time)] = timing
    header = [f"training step, B={batch}, ms", *(f"T={time}" for time in LENGTHS)]
    rows = [
        [name, *(f"{by_time[str(time)].median * 1e3:.1f}" for time in LENGTHS)]
        for name, by_time in results["seconds"].items()
    ]
    print(markdown(header, rows))
    print(write_results(f"scan_padding-{device}", results, out))


if __name__ == "__main__":
    main()
