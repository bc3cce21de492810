"""Every model beside every log: NDCG@10 as served, out of results/accuracy.json.

    python -m benchmarks.overview

The table of docs/models.md: a model as its preset has it, its first seed; the state streamed over the whole history
where it carries one. Seen items are excluded, but for logs whose users buy again, where they stay candidates.
"""

from __future__ import annotations

from typing import Any

from benchmarks.accuracy import Results
from benchmarks.measuring import RESULTS, markdown
from deployrec.training.baselines import FLOORS

COLUMNS = (
    ("ml-1m", "full"),
    ("beauty", "full"),
    ("ml-1m", "quick"),
    ("ml-1m-timed-half", "quick"),
    ("video", "quick"),
    ("online-retail", "quick"),
)
METRIC = "ndcg@10"
NOT_MEASURED = "-"


def table() -> str:
    """The table in Markdown, the best of each log's preset in bold."""
    rows = Results(RESULTS / "accuracy.json").rows
    cells = {(row["model"], row["data"], row["preset"]): served(row) for row in reversed(rows)}
    models = sorted({model for model, *_ in cells if ":" not in model or model == "sasrec:block=ligr"})
    lines = {model: [cells.get((model, *column)) for column in COLUMNS] for model in models}
    best = [max(value or 0.0 for value in column) for column in zip(*lines.values(), strict=True)]
    texts = [[f"`{model}`", *map(shown, line, best)] for model, line in lines.items()]
    floors = ["best chain of counts", *(f"{floor(rows, *column):.3f}" for column in COLUMNS)]
    return markdown(["", *(f"{data}, {preset}" for data, preset in COLUMNS)], [*texts, floors])


def served(row: dict[str, Any]) -> float:
    """NDCG@10 of a row as its bundle serves."""
    scorers = row["metrics"]["test"]["rows"]
    return float((scorers.get("streamed") or scorers["windowed"])[kind(row)][METRIC])


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
    print(table())
