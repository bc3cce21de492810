"""Does a state streamed over a whole history rank as well as the training window read again? With an interval.

    python -m benchmarks.streaming runs/accuracy/glintru/20261121-183139

Masked NDCG@10 streamed over windowed for the users whose history is longer than the run's window, on the validation
and the test items together, because these users are few. The 90 % interval is a paired bootstrap over these items.
Below 30 there is no interval. Writes streaming.json.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.finished_runs import tabulate
from deployrec.data import leave_one_out
from deployrec.training.evaluate import ENOUGH_USERS, rank_users
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
    enough = len(streamed) >= ENOUGH_USERS and windowed.any()
    return {
        "model": run.model_key,
        "data": dataset.name,
        "dim": run.record["model"]["config"]["dim"],
        "seed": run.training.seed,
        "schedule": run.training.schedule,
        "carried_state": run.training.carried_state,
        "window": window,
        "held_out": len(streamed),
        "windowed": float(windowed.mean()) if len(windowed) else None,
        "streamed": float(streamed.mean()) if len(streamed) else None,
        "ratio": float(streamed.mean() / windowed.mean()) if enough else None,
        "interval": interval(streamed, windowed) if enough else None,
    }


def interval(streamed: np.ndarray, windowed: np.ndarray) -> list[float]:
    """5th and 95th percentile of the ratio of means over resampled held-out items."""
    drawn = np.random.default_rng(0).integers(len(streamed), size=(RESAMPLES, len(streamed)))
    above, below = streamed[drawn].mean(1), windowed[drawn].mean(1)
    low, high = np.percentile(above[below > 0] / below[below > 0], [5, 95])
    return [float(low), float(high)]


def line(row: dict[str, Any]) -> list[str]:
    name = f"{row['model']}, d = {row['dim']}, seed {row['seed']}"
    name += f", {row['schedule']} rate, carried_state {row['carried_state']:g}"
    if row["interval"] is None:
        return [name, f"{row['held_out']:,}", "", "", "too few to say", ""]
    low, high = row["interval"]
    figures = [f"{row[key]:.4f}" for key in ("windowed", "streamed")]
    return [name, f"{row['held_out']:,}", *figures, f"{row['ratio']:.3f}", f"{low:.3f} to {high:.3f}"]


if __name__ == "__main__":
    main()
