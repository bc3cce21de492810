"""What longer histories cost: seconds of an epoch, of inference, and memory (RecBLR paper, Figure 4).

    python -m benchmarks.history_lengths --models recblr sasrec --lengths 100 200 500 1000

Every model at every length in a process of its own, over random items: a training step on --events events in windows
of that length, scaled to an epoch of a million events; the user vectors of as many histories, a user of them; and the
most memory the process held beyond what it had before, on a GPU what torch held at once. A step is what a recurrent
model costs a further event at any length. Prints the table of docs/benchmarks.md; writes history_lengths.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, time_call, write_results
from deployrec.models import build_model, model_class
from deployrec.training.config import TrainingConfig
from deployrec.training.module import TrainingModule
from deployrec.training.windows import WindowBatch

MODELS = ("recblr", "glintru", "gru4rec", "lrurec", "mamba4rec", "sasrec", "bert4rec")
"""The others read no more than their newest 5 to 50 events, however many there are."""
LENGTHS = (100, 200, 500, 1000)
ITEMS, EPOCH = 3416, 1_000_000
MIB = 2**20


@dataclass(frozen=True)
class Row:
    model: str
    length: int
    epoch_seconds: float
    """of a million events"""
    inference_ms: float
    """of one user's whole history, in a batch"""
    memory_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--lengths", nargs="+", type=int, default=list(LENGTHS))
    parser.add_argument("--events", type=int, default=16_000, help="in a batch")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser):
        classes = [model_class(model) for model in arguments.models]
    if arguments.one:
        print(json.dumps(asdict(measure(classes[0].key, arguments.lengths[0], arguments.events, arguments.device))))
        return
    rows: list[Row] = []
    for model in arguments.models:
        for length in arguments.lengths:
            rows.append(in_a_process(model, length, arguments.events, arguments.device))
            results = {"machine": machine(arguments.device), "rows": [asdict(row) for row in rows]}
            write_results("history_lengths", results, arguments.out or UNTRACKED)
    print(table(rows))


def in_a_process(model: str, length: int, events: int, device: str) -> Row:
    """One row, measured where nothing else has held memory."""
    command = [sys.executable, "-m", "benchmarks.history_lengths", "--one", "--models", model]
    command += ["--lengths", str(length), "--events", str(events), "--device", device]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def measure(model: str, length: int, events: int, device: str) -> Row:
    """A batch of `events` events in histories of `length`: a training step, and the user vectors."""
    rows = max(1, events // length)
    options: dict[str, Any] = {}
    if "window" in {field.name for field in fields(model_class(model).config_class)}:
        options["window"] = length
    config = TrainingConfig(window=length, tokens=max(events, length), seen_weight=0.0)
    module = TrainingModule(build_model(model, ITEMS, options), config, torch.ones(ITEMS)).to(device)
    drawn = torch.from_numpy(np.random.default_rng(0).integers(1, ITEMS + 1, (rows, length + 1))).to(device)
    lengths = torch.full((rows,), length, device=device)
    nothing = torch.zeros(0, dtype=torch.int64, device=device)
    earlier = [np.zeros(0, np.int64)] * rows
    batch = WindowBatch(drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous(), lengths, nothing, earlier)

    def infer() -> None:
        with torch.inference_mode():
            module.model.encode_last(batch.items, batch.lengths)

    def learn() -> None:
        module.zero_grad()
        module.training_step(batch, 0).backward()

    before = start_of_memory(device)
    inference = time_call(infer, device, 1.0)
    training = time_call(learn, device, 2.0)
    return Row(
        model,
        length,
        training.median * EPOCH / (rows * length),
        1e3 * inference.median / rows,
        (most_memory(device) - before) / MIB,
    )


def start_of_memory(device: str) -> float:
    """Bytes held now; from here on the most that is held is counted anew."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return float(torch.cuda.memory_allocated())
    Path("/proc/self/clear_refs").write_text("5")
    return most_memory(device)


def most_memory(device: str) -> float:
    """The most bytes held since then (Linux on a CPU)."""
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status").read_text()
    return 1024 * float(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def table(rows: list[Row]) -> str:
    """In Markdown, a line for each model: each cost at all lengths, the shortest first."""
    found = {(row.model, row.length): row for row in rows}
    lengths = sorted({row.length for row in rows})
    costs = {"epoch_seconds": "an epoch, s", "inference_ms": "a user, ms", "memory_mib": "memory, MiB"}
    lines = []
    for model in dict.fromkeys(row.model for row in rows):
        values = [[getattr(found[model, length], name) for length in lengths] for name in costs]
        lines.append([f"`{model}`", *(" / ".join(map(rounded, each)) for each in values)])
    return markdown([f"{' / '.join(map(str, lengths))} events", *costs.values()], lines)


def rounded(value: float) -> str:
    """With two digits, or all before the point."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


if __name__ == "__main__":
    main()
