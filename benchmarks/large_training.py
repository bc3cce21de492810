"""Training over a million items: sampled softmax corrected by log q, the steps that `train` takes; memory, throughput.

    python -m benchmarks.large_training --items 1000000

Windows of items drawn as popularity does (a Zipf law) go through the training module and its optimiser, after one step
that makes room. Prints events a second, seconds a step and the most memory that the process held. The catalogue's share
of it is four times the table: weights, gradient and AdamW's two moments. Writes large_training.json.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from deployrec.models import build_model
from deployrec.training.config import TrainingConfig
from deployrec.training.module import TrainingModule
from deployrec.training.windows import WindowBatch

ZIPF = 1.1
EARLIER = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Row:
    model: str
    items: int
    events_per_step: int
    seconds_per_step: float
    events_per_second: float
    table_gib: float
    most_memory_gib: float
    loss: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="recblr")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--windows", type=int, default=64, help="in a batch, of 200 events")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser):
        row = measure(arguments.model, arguments.items, arguments.windows, arguments.steps, arguments.device)
    cells = [f"{value:,.4g}" if isinstance(value, float) else str(value) for value in asdict(row).values()]
    print(markdown(list(asdict(row)), [cells]))
    write_results(
        "large_training", {"machine": machine(arguments.device), "rows": [asdict(row)]}, arguments.out or UNTRACKED
    )


def measure(model: str, num_items: int, windows: int, steps: int, device: str) -> Row:
    config = TrainingConfig(window=200, tokens=200 * windows)
    rng = np.random.default_rng(0)
    counts = (1e6 / np.arange(1, num_items + 1) ** ZIPF).astype(np.int64)
    chances = np.cumsum(counts + 1.0)
    module = TrainingModule(build_model(model, num_items, {}), config, torch.from_numpy(counts)).to(device).train()
    optimiser = module.configure_optimizers()
    begun, losses = 0.0, []
    for step in range(steps + 1):
        if step == 1:
            _wait(device)
            begun = time.perf_counter()
        drawn = np.searchsorted(chances, rng.random((windows, 201)) * chances[-1]) + 1
        rows = torch.from_numpy(drawn).to(device)
        lengths = torch.full((windows,), 200, device=device)
        carried = torch.zeros(0, dtype=torch.int64, device=device)
        batch = WindowBatch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous(), lengths, carried, [EARLIER] * windows)
        optimiser.zero_grad()
        loss = module.training_step(batch, step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip)
        optimiser.step()
        losses.append(loss.detach())
    _wait(device)
    seconds = (time.perf_counter() - begun) / steps
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if device != "cpu":
        most = torch.cuda.max_memory_allocated()
    table = module.model.embedding.weight.numel() * 4
    events = 200 * windows
    loss_name = f"{config.loss_for(num_items)}, {config.negatives} negatives"
    return Row(model, num_items, events, seconds, events / seconds, table / 2**30, most / 2**30, loss_name)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
