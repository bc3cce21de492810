"""Leave-one-out evaluation that ranks ALL items: every scorer masked and unmasked, beside the baselines."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from deployrec.data import Dataset, LeaveOneOut, SplitView
from deployrec.data.sample_ceiling import sample_ceiling
from deployrec.data.split import split as divided
from deployrec.errors import ConfigError, RunError
from deployrec.models import SequentialRecommender
from deployrec.progress import Progress, silent
from deployrec.training.baselines import FLOORS, Markov, Popularity
from deployrec.training.metrics import METRICS, Ranks, masked_ranks, target_ranks
from deployrec.training.scorers import Scorer, StreamedScorer, TimelessScorer, WindowedScorer, carries_state
from deployrec.training.windows import length_batches

TOKENS = 16_384
SCORES = 2**23
SPLITS = ("test", "validation")
SAFE_STREAMING = 0.98
ENOUGH_USERS = 30
"""Fewer say nothing about streaming."""


@dataclass(frozen=True)
class Row:
    """One scorer's figures over all users and over the `long_users`; `masked`: seen items were taken out."""

    name: str
    masked: bool
    metrics: dict[str, float]
    long_users: dict[str, float]


@dataclass(frozen=True)
class Report:
    """Figures of one split over `users` users, `num_long` of them with more than `window` events before the target."""

    data: str
    split: str
    users: int
    window: int
    num_long: int
    rows: tuple[Row, ...]
    exclude_seen: bool = True
    """whether the masked rows are those of serving, or, where users buy again, the unmasked ones"""

    def row(self, name: str, masked: bool = True) -> Row:
        """The row of scorer `name`; KeyError where it was not evaluated."""
        for row in self.rows:
            if (row.name, row.masked) == (name, masked):
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; rows: {name: {"masked" | "unmasked" (| the same + "_long_users"): {metric: value}}}."""
        rows: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            kind = "masked" if row.masked else "unmasked"
            rows.setdefault(row.name, {})[kind] = row.metrics
            if self.num_long:
                rows[row.name][f"{kind}_long_users"] = row.long_users
        return {
            "users": self.users,
            "window": self.window,
            "num_long": self.num_long,
            "exclude_seen": self.exclude_seen,
            "rows": rows,
        }

    def table(self) -> Table:
        """The report for a terminal."""
        title = f"{self.data}, {self.split}: {self.users:,} users, all items ranked"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("scorer", no_wrap=True)
        table.add_column("seen")
        for metric in METRICS:
            table.add_column(metric.upper(), justify="right")
        for index, row in enumerate(self.rows):
            last = index + 1 == len(self.rows) or self.rows[index + 1].name != row.name
            figures = [f"{row.metrics[metric]:.4f}" for metric in METRICS]
            table.add_row(row.name, "masked" if row.masked else "unmasked", *figures, end_section=last)
        return table

    def streaming(self) -> float | None:
        """NDCG@10, as served, streamed over windowed for the long users; None where they are too few to tell."""
        names = {row.name for row in self.rows}
        if self.num_long < ENOUGH_USERS or not {"windowed", "streamed"} <= names:
            return None
        windowed, streamed = (
            self.row(name, self.exclude_seen).long_users["ndcg@10"] for name in ("windowed", "streamed")
        )
        return streamed / windowed if windowed else None

    def served(self) -> Row:
        """The first scorer's row as it would serve: streamed where the model carries a state."""
        names = [row.name for row in self.rows]
        return self.row("streamed" if "streamed" in names else names[0], self.exclude_seen)

    def notes(self, sample: bool = False) -> list[str]:
        """What the figures mean, a line each; `sample` says that these are the built-in data, whose best is known."""
        lines = [ceiling()] if sample and self.split == "test" else []
        return [*lines, *self._below(), *self._streaming()]

    def _below(self) -> list[str]:
        """Whether a floor that needs no training ranks better than the model."""
        served = self.served()
        floors = [row for row in self.rows if row.masked == self.exclude_seen and row.name in FLOORS]
        best = max(floors, key=lambda row: row.metrics["ndcg@10"], default=None)
        if best is None or served.metrics["ndcg@10"] >= best.metrics["ndcg@10"]:
            return []
        seen = "masked" if self.exclude_seen else "unmasked"
        return [
            f"note: the model ranks below {best.name} ({seen} NDCG@10 {served.metrics['ndcg@10']:.4f} against "
            f"{best.metrics['ndcg@10']:.4f}): try --preset full, more epochs (--set epochs=N) or a log with more events"
        ]

    def _streaming(self) -> list[str]:
        if not self.num_long or not {"windowed", "streamed"} <= {row.name for row in self.rows}:
            return []
        users = f"{self.num_long:,} user{'s' * (self.num_long > 1)} beyond {self.window:,} events"
        ratio = self.streaming()
        if ratio is None:
            why = "too few to say" if self.num_long < ENOUGH_USERS else "none of them found, nothing to compare"
            return [f"streamed against windowed for the {users}: {why}"]
        safe = "safe to stream" if ratio >= SAFE_STREAMING else "streaming costs accuracy: raise carried_state"
        return [f"streamed / windowed NDCG@10 for the {users}: {ratio:.3f} ({safe})"]

    def __str__(self) -> str:
        """The table as plain text."""
        console = Console(file=io.StringIO(), width=100)
        console.print(self.table())
        return str(console.file.getvalue()).rstrip()  # type: ignore[attr-defined]

    def _repr_mimebundle_(self, include: Any, exclude: Any, **options: Any) -> dict[str, str]:
        """The table in a notebook."""
        return self.table()._repr_mimebundle_(include, exclude, **options)


def evaluate(
    model: SequentialRecommender,
    dataset: Dataset,
    *,
    window: int,
    split: str = "test",
    baselines: bool = True,
    exclude_seen: bool | None = None,
    holdout: float = 0.0,
    progress: Progress = silent,
) -> Report:
    """Figures of a model on the split "test" or "validation", windowed and, if it carries state, streamed.

    A time-aware model is asked at each target's own time, and once more without any, which tells what time is worth.
    The model is put into eval mode and evaluated where its weights lie. Raises RunError for scores that are NaN.
    """
    scorers: list[Scorer] = [WindowedScorer(model.eval(), window)]
    if carries_state(model):
        scorers.append(StreamedScorer(model, window))
    if model.moment is not None:
        scorers.append(TimelessScorer(scorers[-1]))
    return evaluate_scorers(
        scorers,
        dataset,
        window=window,
        split=split,
        baselines=baselines,
        exclude_seen=exclude_seen,
        holdout=holdout,
        progress=progress,
    )


def evaluate_scorers(
    scorers: Sequence[Scorer],
    dataset: Dataset,
    *,
    window: int,
    split: str = "test",
    baselines: bool = True,
    exclude_seen: bool | None = None,
    holdout: float = 0.0,
    progress: Progress = silent,
) -> Report:
    """Figures of any scorers on one split; `window` only tells whom the report counts as a long user.

    exclude_seen: which rows are those of serving; None takes the masked ones but for a log of repeat purchases.
    holdout: how the data were divided for the training; beside 0, "test" has users' first events after the moment.
    """
    views = divided(dataset, holdout)
    view = view_of(views, split)
    if not len(view):
        raise RunError(f"expected users with at least 3 events; got none in {dataset.name}; evaluate on a longer log")
    if baselines:
        scorers = [*scorers, Popularity(views.train), Markov(views.train, lags=1), Markov(views.train)]
    long = view.stops - view.starts > window
    rows = []
    for scorer in scorers:
        for masked, ranks in zip((True, False), rank_users(scorer, view, progress=progress), strict=True):
            rows.append(Row(scorer.name, masked, ranks.metrics(), ranks.metrics(long)))
    return Report(
        dataset.name, split, len(view), window, int(long.sum()), tuple(rows), served_masked(dataset, exclude_seen)
    )


def served_masked(dataset: Dataset, exclude_seen: bool | None) -> bool:
    """Whether lists leave out seen items: what was decided, or what the log suggests."""
    return not dataset.repeats if exclude_seen is None else exclude_seen


def check_split(name: str) -> None:
    """ConfigError for a split that is none."""
    if name not in SPLITS:
        raise ConfigError(f"expected a split out of {', '.join(SPLITS)}; got '{name}'; choose one of them")


def ceiling() -> str:
    """What no model can beat on the sample's test items, in one line: its process is known."""
    best = sample_ceiling()
    return f"best possible on the sample: HR@{best.k} {best.hit_rate:.4f}, NDCG@{best.k} {best.ndcg:.4f}"


def view_of(views: LeaveOneOut, split: str) -> SplitView:
    """The view that is called "validation" or "test"."""
    check_split(split)
    return {"validation": views.validation, "test": views.test}[split]


def rank_users(
    scorer: Scorer, view: SplitView, rows: np.ndarray | None = None, progress: Progress = silent
) -> tuple[Ranks, Ranks]:
    """Masked and unmasked ranks of the view's targets, in the order of its rows or of those given."""
    rows = np.arange(len(view)) if rows is None else rows
    parts, order = [], []
    batches = EvaluationBatches(view, rows, scorer.chunk)
    for number, batch in enumerate(batches):
        progress(number, len(batches), f"ranking all items, {scorer.name}")
        parts.append(rank_batch(scorer, batch))
        order.append(batch.positions)
    back = np.argsort(np.concatenate(order))
    masked, unmasked = (Ranks.concatenate(kind) for kind in zip(*parts, strict=True))
    return Ranks(masked.better[back], masked.tied[back]), Ranks(unmasked.better[back], unmasked.tied[back])


class EvaluationBatch(NamedTuple):
    """Histories and targets [B] of the view rows that stand at `positions` [B] of those asked for; elapsed float32
    [B, 2], seconds to the question and its day, where the log has times."""

    positions: np.ndarray
    histories: list[np.ndarray]
    targets: np.ndarray
    elapsed: np.ndarray | None


class EvaluationBatches:
    """Rows of a view in batches of like length, small enough in events read at once and in scores.

    elapsed [V, 2]: seconds from each history to its question, and the day; by default those of its target.
    """

    def __init__(self, view: SplitView, rows: np.ndarray, chunk: int, elapsed: np.ndarray | None = None) -> None:
        self._view, self._rows = view, rows
        self._elapsed = view.asked() if elapsed is None and view.dataset.timed else elapsed
        lengths = np.minimum(view.stops[rows] - view.starts[rows], chunk)
        self._batches = length_batches(lengths, TOKENS, max_rows=max(1, SCORES // (view.dataset.num_items + 1)))

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[EvaluationBatch]:
        assert self._view.targets is not None
        for positions in self._batches:
            rows = self._rows[positions]
            elapsed = None if self._elapsed is None else self._elapsed[rows]
            histories = [self._view.history(row) for row in rows]
            yield EvaluationBatch(positions, histories, self._view.targets[rows], elapsed)


def rank_batch(scorer: Scorer, batch: EvaluationBatch) -> tuple[Ranks, Ranks]:
    """Masked and unmasked ranks of one batch's targets; RunError if a score is NaN."""
    with torch.inference_mode():
        scores = scorer.scores(batch.histories, batch.elapsed)
        if bool(scores.sum().isnan()):
            raise RunError(f"expected finite scores from '{scorer.name}'; got NaN; train the model again")
        targets = torch.from_numpy(batch.targets).to(scores.device)
        unmasked = target_ranks(scores, targets)
        return masked_ranks(unmasked, scores, targets, batch.histories), unmasked
