"""Rows as they were read, each with the place it came from, and what becomes of the bad ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl

from deployrec.errors import DataError

LINE, PART = "__line__", "__part__"
EXAMPLES = 5

OnBadRow = Literal["error", "skip"]


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of a log or of an items file, and where each row stands.

    frame      the columns, and LINE (from 1) and PART (a position in `parts`)
    parts      names of the files
    unit       what stands between a file's name and LINE: ":" for lines of text, ": row " for rows of a frame
    text       whether the values come from a text file, where an empty field and a missing value are the same
    """

    frame: pl.DataFrame
    parts: tuple[str, ...]
    unit: str
    text: bool

    @classmethod
    def of_frame(cls, frame: pl.DataFrame, name: str) -> Table:
        """A frame whose rows are numbered from 1."""
        numbered = frame.with_row_index(LINE, offset=1).with_columns(pl.lit(0, pl.UInt32).alias(PART))
        return cls(numbered, (name,), ": row ", text=False)

    @property
    def source(self) -> str:
        """What the whole is called in messages."""
        return self.parts[0] if len(self.parts) == 1 else f"{self.parts[0]} and {len(self.parts) - 1} more"

    def where(self, row: int) -> str:
        """ "log.csv:7" for a row of the frame."""
        return f"{self.parts[self.frame[PART][row]]}{self.unit}{self.frame[LINE][row]}"

    def with_column(self, column: pl.Series) -> Table:
        """The same rows with `column` new or replaced."""
        return replace(self, frame=self.frame.with_columns(column))

    def without(self, column: str) -> Table:
        """The same rows without `column`."""
        return replace(self, frame=self.frame.drop(column))


@dataclass(eq=False)
class BadRows:
    """Refuses bad rows at once, or (`skip`) drops them, counts them and lists the first few."""

    skip: bool = False
    skipped: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, places: Sequence[str], count: int, expected: str, got: str) -> None:
        """`count` rows that are not as `expected`, the first ones at `places`; DataError unless they are skipped."""
        if not count:
            return
        if not self.skip:
            raise DataError(
                f"{places[0]}: expected {expected}; got {got}; mend or remove {_how_many(count)}, "
                "or pass --on-bad-row skip"
            )
        self.skipped += count
        self.examples += [f"{place} (expected {expected})" for place in places[: EXAMPLES - len(self.examples)]]

    def drop(self, table: Table, bad: pl.Series, column: str, expected: str, values: pl.Series) -> Table:
        """`table` without the rows where `bad` holds; `column` is what the user calls the one they are bad in."""
        if not bad.any():
            return table
        rows = bad.arg_true()
        value = values[rows[0]]
        got = "nothing" if value is None or str(value).strip() == "" else repr(value)
        places = [table.where(row) for row in rows[:EXAMPLES]]
        self.add(places, len(rows), f"{expected} in column '{column}'", got)
        return replace(table, frame=table.frame.filter(~bad))

    def notes(self) -> list[str]:
        """One line about what was skipped; nothing where nothing was."""
        if not self.skipped:
            return []
        more = f" and {self.skipped - len(self.examples):,} more" if self.skipped > len(self.examples) else ""
        rows = "row" if self.skipped == 1 else "rows"
        return [f"skipped {self.skipped:,} bad {rows}: {', '.join(self.examples)}{more}"]


def _how_many(rows: int) -> str:
    return "this row" if rows == 1 else f"all {rows:,} such rows"
