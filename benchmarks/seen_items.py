"""What stands between the masked and the unmasked figures: which seen items a model ranks above the target.

    python -m benchmarks.seen_items runs/accuracy/recblr/20261121-152811

For each finished run, on the test split, streamed where the model carries a state: NDCG@10 unmasked, with nothing but
the last event's item taken out, and masked; how often that item holds the first place of the unmasked ranking; how
many seen items stand above a target that masked is among the first ten. Writes seen_items.json.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.finished_runs import tabulate
from deployrec.data import leave_one_out
from deployrec.training.evaluate import EvaluationBatches
from deployrec.training.metrics import Ranks, masked_ranks, target_ranks
from deployrec.training.runs import Run
from deployrec.training.scorers import Scorer, StreamedScorer, WindowedScorer, carries_state

NDCG = "ndcg@10"
HEADER = ["", "NDCG@10 unmasked", "without the last item", "masked", "last item first", "seen above the target"]


def main() -> None:
    tabulate("seen_items", __doc__, HEADER, row, line)


def row(run: Run) -> dict[str, Any]:
    """The figures of one run over all test users."""
    dataset = run.dataset()
    view = leave_one_out(dataset).test
    model = run.model()
    window = run.training.window
    scorer: Scorer = StreamedScorer(model, window) if carries_state(model) else WindowedScorer(model, window)
    ranks: dict[str, list[Ranks]] = {"unmasked": [], "without_last": [], "masked": [], "last": []}
    for batch in EvaluationBatches(view, np.arange(len(view)), scorer.chunk):
        newest = [history[-1:] for history in batch.histories]
        with torch.inference_mode():
            scores = scorer.scores(batch.histories)
            targets = torch.from_numpy(batch.targets).to(scores.device)
            last = torch.from_numpy(np.concatenate(newest)).to(scores.device)
            unmasked = target_ranks(scores, targets)
            ranks["unmasked"].append(unmasked)
            ranks["without_last"].append(masked_ranks(unmasked, scores, targets, newest))
            ranks["masked"].append(masked_ranks(unmasked, scores, targets, batch.histories))
            ranks["last"].append(target_ranks(scores, last))
    whole = {name: Ranks.concatenate(parts) for name, parts in ranks.items()}
    hits = whole["masked"].better < 10
    return {
        "model": run.model_key,
        "data": dataset.name,
        "seed": run.training.seed,
        "seen_weight": run.training.seen_weight,
        "ndcg@10": {name: whole[name].metrics()[NDCG] for name in ("unmasked", "without_last", "masked")},
        "last_item_first": float((whole["last"].better == 0).mean()),
        "seen_above_target": float((whole["unmasked"].better - whole["masked"].better)[hits].mean()),
    }


def line(row: dict[str, Any]) -> list[str]:
    name = f"{row['model']}, {row['data']}, seed {row['seed']}, seen_weight {row['seen_weight']:g}"
    figures = [f"{figure:.4f}" for figure in row["ndcg@10"].values()]
    return [name, *figures, f"{row['last_item_first']:.0%}", f"{row['seen_above_target']:.1f}"]


if __name__ == "__main__":
    main()
