"""Does a state streamed over a whole history rank as well as the training window read again? With an interval.

    python -m benchmarks.streaming runs/accuracy/glintru/20261121-183139

Masked NDCG@10 streamed over windowed for the users whose history is longer than the run's window, on the validation
and the test items together, because these users are few. The 90 % interval is a paired bootstrap over these items.
Writes results/streaming.json.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.finished_runs import tabulate
from deployrec.data import leave_one_out
from deployrec.training.evaluate import rank_users
from deployrec.training.runs import Run
from deployrec.training.scorers import Scorer, StreamedScorer, WindowedScorer

RESAMPLES = 4000
HEADER = ["", "held-out items", "windowed NDCG@10", "streamed", "ratio", "90 % interval"]


def main() -> None:
    tabulate("streaming", __doc__, HEADER, row, line)


def row(run: Run) -> dict[str, Any]:
    """The figures of one run over the held-out items of its long users."""
    dataset, model, window = run.dataset(), run.model(), run.training.window
    views = leave_one_out(dataset)

    def ndcg(scorer: Scorer) -> np.ndarray:
        of_splits = []
        for view in (views.validation, views.test):
            long = np.flatnonzero(view.stops - view.starts > window)
            of_splits.append(rank_users(scorer, view, long)[0].per_user("ndcg@10"))
        return np.concatenate(of_splits)

    windowed, streamed = ndcg(WindowedScorer(model, window)), ndcg(StreamedScorer(model, window))
    low, high = interval(streamed, windowed)
    return {
        "model": run.model_key,
        "data": dataset.name,
        "dim": run.record["model"]["config"]["dim"],
        "seed": run.training.seed,
        "schedule": run.training.schedule,
        "carried_state": run.training.carried_state,
        "window": window,
        "held_out": len(streamed),
        "windowed": float(windowed.mean()),
        "streamed": float(streamed.mean()),
        "ratio": float(streamed.mean() / windowed.mean()),
        "interval": [low, high],
    }


def interval(streamed: np.ndarray, windowed: np.ndarray) -> tuple[float, float]:
    """5th and 95th percentile of the ratio of means over resampled held-out items."""
    drawn = np.random.default_rng(0).integers(len(streamed), size=(RESAMPLES, len(streamed)))
    low, high = np.percentile(streamed[drawn].mean(1) / windowed[drawn].mean(1), [5, 95])
    return float(low), float(high)


def line(row: dict[str, Any]) -> list[str]:
    name = f"{row['model']}, d = {row['dim']}, seed {row['seed']}"
    name += f", {row['schedule']} rate, carried_state {row['carried_state']:g}"
    low, high = row["interval"]
    figures = [f"{row[key]:.4f}" for key in ("windowed", "streamed")]
    return [name, f"{row['held_out']:,}", *figures, f"{row['ratio']:.3f}", f"{low:.3f} to {high:.3f}"]


if __name__ == "__main__":
    main()
