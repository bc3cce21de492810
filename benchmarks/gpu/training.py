"""One training epoch at MovieLens-1M's sizes: both models, fp32 and bf16, on the GPU."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.measuring import machine, markdown, write_results
from deployrec.data import Dataset
from deployrec.training.runs import DataSource
from deployrec.training.train import fit, start

USERS, EVENTS, ITEMS = 6040, 999_611, 3416


def main(out: Path) -> None:
    """Writes gpu-training.json: seconds of an epoch with its validation, and events a second."""
    dataset = random_dataset()
    cases: list[dict[str, Any]] = []
    for model in ("recblr", "glintru"):
        for precision in ("32", "bf16"):
            epoch(model, precision, dataset)  # compiles the kernels
            seconds = epoch(model, precision, dataset)
            cases.append(
                {"model": model, "precision": precision, "seconds": seconds, "events_a_second": EVENTS / seconds}
            )
            write_results("gpu-training", {"machine": machine("cuda"), "cases": cases}, out)
    rows = [[c["model"], c["precision"], f"{c['seconds']:.1f}", f"{c['events_a_second']:,.0f}"] for c in cases]
    print(markdown(["model", "precision", "epoch s", "events/s"], rows))


def epoch(model: str, precision: str, dataset: Dataset) -> float:
    """Seconds of one epoch and its validation."""
    settings = ["epochs=1", "dim=64", "window=600", "tokens=32000", "device=cuda", f"precision={precision}"]
    with tempfile.TemporaryDirectory() as root:
        run, _ = start(model, DataSource("sample"), settings=settings, root=root, dataset=dataset)
        return float(fit(run, dataset).record["seconds"])


def random_dataset() -> Dataset:
    """As many users, events and items as MovieLens-1M, history lengths alike, items at random: an epoch's cost."""
    draw = np.random.default_rng(0)
    lengths = np.maximum(20, draw.lognormal(4.6, 0.95, USERS)).astype(np.int64)
    lengths = np.maximum(5, lengths * EVENTS // lengths.sum())
    items = pl.DataFrame(
        {
            "item_id": [str(i) for i in range(1, ITEMS + 1)],
            "title": [f"item {i}" for i in range(1, ITEMS + 1)],
            "popularity": np.ones(ITEMS, np.int64),
        }
    )
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    events = draw.integers(1, ITEMS + 1, offsets[-1])
    return Dataset("random, ml-1m sizes", items, [str(u) for u in range(USERS)], offsets, events)
