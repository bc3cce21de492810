"""The figures of an evaluation after a moment, as tables, lines and JSON."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table

from deployrec.training.baselines import FLOORS, RECENT

SHOWN = ("hr@10", "ndcg@10", "mrr@10", "ndcg@20")
"""What fits beside the coverage; the rows have all."""


@dataclass(frozen=True)
class AgeRow:
    """Figures of the `targets` that came from `days` after the end of training on, up to the next row's."""

    days: int
    targets: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class ProtocolRow:
    """One scorer's figures; `masked`: seen items were taken out. coverage: share of all items in any list of ten.

    `ages` has the figures as served, by the age of the model; the other kind of row has none.
    """

    name: str
    masked: bool
    metrics: dict[str, float]
    coverage: float
    ages: tuple[AgeRow, ...]


@dataclass(frozen=True)
class ProtocolReport:
    """Figures of one protocol over `targets` events of `users` users from `moment` on.

    new_items: targets of items that nobody had before the moment, which no model can know; newcomers: events that could
    not be asked for, as they are their user's first. exclude_seen: whether the masked rows are those of serving.
    """

    data: str
    protocol: str
    moment: str
    users: int
    targets: int
    new_items: int
    newcomers: int
    rows: tuple[ProtocolRow, ...]
    exclude_seen: bool

    def row(self, name: str, masked: bool | None = None) -> ProtocolRow:
        """The row of scorer `name`, as served where `masked` does not say; KeyError where it was not evaluated."""
        masked = self.exclude_seen if masked is None else masked
        for row in self.rows:
            if (row.name, row.masked) == (name, masked):
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows]}

    def table(self) -> Group:
        """The figures, and how they move with the age of the model, for a terminal."""
        return Group(self._figures(), self._ages())

    def _figures(self) -> Table:
        what = f"{self.targets:,} events" if self.protocol == "successive" else f"{self.users:,} lists"
        title = f"{self.data}, {self.protocol} from {self.moment}: {what}, all items ranked"
        table = _table(title, "scorer", "seen", *(metric.upper() for metric in SHOWN), "coverage")
        for index, row in enumerate(self.rows):
            last = index + 1 == len(self.rows) or self.rows[index + 1].name != row.name
            values = [f"{row.metrics[metric]:.4f}" for metric in SHOWN]
            seen = "masked" if row.masked else "unmasked"
            table.add_row(row.name, seen, *values, f"{row.coverage:.3f}", end_section=last)
        return table

    def _ages(self) -> Table:
        served = [row for row in self.rows if row.masked == self.exclude_seen]
        ages = served[0].ages
        spans = [f"{age.days}-{after.days} d" for age, after in pairwise(ages)]
        table = _table("NDCG@10 as served, by the age of the model", "scorer", *spans, f"{ages[-1].days} d on")
        table.add_row("events", *(f"{age.targets:,}" for age in ages), end_section=True)
        for row in served:
            table.add_row(row.name, *(f"{age.metrics['ndcg@10']:.4f}" for age in row.ages))
        return table

    def notes(self) -> list[str]:
        """What the figures mean, a line each."""
        lines = []
        if self.new_items:
            lines.append(f"{self.new_items:,} of {self.targets:,} events are of items that nobody had before: missed")
        if self.newcomers:
            lines.append(f"{self.newcomers:,} events are the first of their user, whom nobody knew yet: not asked for")
        served = [row for row in self.rows if row.masked == self.exclude_seen]
        floors = [row for row in served if row.name in (*FLOORS, RECENT)]
        best = max(floors, key=lambda row: row.metrics["ndcg@10"], default=None)
        if best is not None and served[0].metrics["ndcg@10"] < best.metrics["ndcg@10"]:
            lines.append(
                f"note: the model ranks below {best.name} (NDCG@10 {served[0].metrics['ndcg@10']:.4f} against "
                f"{best.metrics['ndcg@10']:.4f}): try --preset full, or train on newer events (a smaller holdout)"
            )
        return lines

    def __str__(self) -> str:
        """The tables as plain text."""
        console = Console(file=io.StringIO(), width=110)
        console.print(self.table())
        return str(console.file.getvalue()).rstrip()  # type: ignore[attr-defined]


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="left" if column == "seen" else "right", no_wrap=True)
    return table
