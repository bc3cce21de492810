"""Time against no time: figures as served, out of results/accuracy.json.

    python -m benchmarks.time_table

The table of docs/time.md, HR@10 / NDCG@10 on the test items: time-aware models beside the same model and recipe without
time, where that was trained; means over seeds, with standard deviations where there are several. The state is streamed
over the whole history. Seen items are excluded, but for logs whose users buy again, where they stay candidates.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from benchmarks.accuracy import Results, spread
from benchmarks.measuring import RESULTS, markdown
from benchmarks.overview import NOT_MEASURED, kind

TIMED, ITS_OPTIONS = "time=true", ("time=true", "calendar=true")
SERVED, UNTOLD = "streamed", "streamed, time unknown"
SAME_EVENTS = {"beauty-timed": "beauty"}
"""Logs that differ in nothing but their times: what does not look at these learns the same from both."""
METRICS = ("hr@10", "ndcg@10")
HEADER = ["log, preset", "model", "without time", "with time", "asked at an unknown time"]
HEADER += ["validation NDCG@10, without", "with", "seeds"]


def table() -> str:
    """A line for each time-aware model, log and preset, in Markdown."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in Results(RESULTS / "accuracy.json").rows:
        groups[row["data"], row["preset"], row["model"]].append(row)
    lines = []
    for (data, preset, model), timed in sorted(groups.items()):
        if TIMED in model:
            name = timeless(model)
            own = groups.get((data, preset, name)) or groups.get((SAME_EVENTS.get(data, data), preset, name), [])
            figures = [
                on_test(own, SERVED),
                on_test(timed, SERVED),
                on_test(timed, UNTOLD),
                on_validation(own),
                on_validation(timed),
            ]
            lines.append([f"{data}, {preset}", f"`{model}`", *figures, f"{len(own)} and {len(timed)}"])
    return markdown(HEADER, lines)


def timeless(model: str) -> str:
    """ "recblr:time=true,calendar=true,epochs=16" -> "recblr:epochs=16"."""
    key, _, settings = model.partition(":")
    left = ",".join(setting for setting in settings.split(",") if setting not in ITS_OPTIONS)
    return f"{key}:{left}" if left else key


def on_test(rows: list[dict[str, Any]], scorer: str) -> str:
    return " / ".join(spread(values(rows, "test", scorer, metric)) for metric in METRICS) if rows else NOT_MEASURED


def on_validation(rows: list[dict[str, Any]]) -> str:
    return spread(values(rows, "validation", SERVED, "ndcg@10")) if rows else NOT_MEASURED


def values(rows: list[dict[str, Any]], split: str, scorer: str, metric: str) -> list[float]:
    """A metric as served, for each of a model's seeds."""
    return [row["metrics"][split]["rows"][scorer][kind(row)][metric] for row in rows]


if __name__ == "__main__":
    print(table())
