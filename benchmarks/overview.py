"""Every model beside every log, and beside the RecBLR paper, out of results/accuracy.json and model_costs.json.

    python -m benchmarks.overview

The tables of docs/models.md and docs/accuracy.md. The first: what a model costs where it serves (model_costs.py says
how), and its NDCG@10 as its preset has it, its first seed; the state streamed over the whole history where it carries
one; seen items excluded, but for logs whose users buy again, where they stay candidates. The second counts them as its
paper does.
"""

from __future__ import annotations

import json
from typing import Any

from benchmarks.accuracy import Results
from benchmarks.measuring import RESULTS, markdown
from benchmarks.published import PUBLISHED, RECBLR_PAPER
from deployrec.training.baselines import FLOORS

COLUMNS = (
    ("ml-1m", "full"),
    ("beauty", "full"),
    ("ml-1m", "quick"),
    ("ml-1m-timed-half", "quick"),
    ("video", "quick"),
    ("online-retail", "quick"),
    ("ml-100k", "quick"),
    ("ml-latest-small", "quick"),
)
METRIC = "ndcg@10"
NOT_MEASURED = "-"
PAPER_LOGS = ("beauty", "ml-1m")


def table() -> str:
    """The table in Markdown, the best of each log's preset in bold."""
    rows = Results(RESULTS / "accuracy.json").rows
    cells = {(row["model"], row["data"], row["preset"]): served(row) for row in reversed(rows)}
    models = sorted({model for model, *_ in cells if ":" not in model or model == "sasrec:block=ligr"})
    lines = {model: [cells.get((model, *column)) for column in COLUMNS] for model in models}
    best = [max(value or 0.0 for value in column) for column in zip(*lines.values(), strict=True)]
    costs = {row["model"]: row for row in json.loads((RESULTS / "model_costs.json").read_text())["rows"]}
    texts = [[f"`{model}`", *cost(costs[model]), *map(shown, line, best)] for model, line in lines.items()]
    floors = ["best chain of counts", "", "", *(f"{floor(rows, *column):.3f}" for column in COLUMNS)]
    header = ["", "state, KiB", "request, us", *(f"{data}, {preset}" for data, preset in COLUMNS)]
    return markdown(header, [*texts, floors])


def cost(row: dict[str, Any]) -> list[str]:
    """State and request of a model; in brackets where it keeps the newest events and reads them again."""
    texts = [f"{row['state_bytes'] / 1024:.3g}", f"{row['request']:.0f}"]
    return [f"({text})" for text in texts] if row["again"] else texts


def beside_paper() -> str:
    """The models of the RecBLR paper, in its order on MovieLens-1M: ours, its figure and their ratio, unmasked.

    Of preset `full` where there is a row, else of `quick`, in brackets.
    """
    rows = Results(RESULTS / "accuracy.json").rows
    papers: dict[str, dict[str, float]] = {}
    for figures in PUBLISHED:
        if figures.source == RECBLR_PAPER:
            papers.setdefault(figures.model, {})[figures.data] = figures.ndcg
    lines = []
    for name, paper in papers.items():
        line = [name]
        for data in PAPER_LOGS:
            key = name.lower().replace("-", "")
            ours = {row["preset"]: row for row in reversed(rows) if (row["model"], row["data"]) == (key, data)}
            value = metric(ours.get("full") or ours["quick"], "unmasked")
            text = f"{value:.4f}" if "full" in ours else f"({value:.4f})"
            line += [text, f"{paper[data]:.4f}", f"{value / paper[data]:.2f}"]
        lines.append(line)
    return markdown(["", *(f"{data}{part}" for data in PAPER_LOGS for part in (", ours", ", paper", ", ratio"))], lines)


def served(row: dict[str, Any]) -> float:
    """NDCG@10 of a row as its bundle serves."""
    return metric(row, kind(row))


def metric(row: dict[str, Any], counted: str) -> float:
    """NDCG@10 of a row, seen items "masked" or "unmasked"."""
    scorers = row["metrics"]["test"]["rows"]
    return float((scorers.get("streamed") or scorers["windowed"])[counted][METRIC])


def floor(rows: list[dict[str, Any]], data: str, preset: str) -> float:
    """The best of what needs no training on that log."""
    row = next(row for row in rows if (row["data"], row["preset"]) == (data, preset))
    scorers = row["metrics"]["test"]["rows"]
    return max(figures[kind(row)][METRIC] for name, figures in scorers.items() if name in FLOORS)


def kind(row: dict[str, Any]) -> str:
    return "unmasked" if row["recipe"]["seen"] == "candidates" else "masked"


def shown(value: float | None, best: float) -> str:
    if value is None:
        return NOT_MEASURED
    return f"**{value:.3f}**" if value == best else f"{value:.3f}"


if __name__ == "__main__":
    print(table(), beside_paper(), sep="\n\n")
