"""What is known of the items besides their ids: read from a file or a frame, written to items.csv."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from deployrec.data.columns import TITLE, Wanted, find_column, require_column, title_column
from deployrec.data.delimited import DelimitedFile, TextFormat
from deployrec.data.frames import frame_columns, is_frame, parquet_columns, read_frame, read_parquet
from deployrec.data.ids import clean_ids
from deployrec.data.sources import COMPRESSED, PARQUET
from deployrec.data.table import LINE, PART, BadRows, Table
from deployrec.errors import DataError
from deployrec.files import atomic_file
from deployrec.text import UNSEEN, printable

FORMATS = {
    ".csv": TextFormat((",", ";", "\t", "|"), "csv"),
    ".tsv": TextFormat(("\t",), "tsv"),
    ".item": TextFormat(("\t",), typed=True),
}
ITEM = "item_id"
MOST_TEXT = 100_000
"""Characters: Python's csv reads no more than 131,072 in a field."""
IN_MEMORY = "the frame of items"
OWN = ("item_id", "title", "popularity")
"""The first columns of items.csv; a file of items has no say in the last."""


@dataclass(frozen=True, eq=False)
class ItemFacts:
    """frame: item_id, title, further columns, all text, one row an item.

    source     file or frame, for remarks
    titled     whether `title` is a title, not the id again
    repeated   rows left out because their item stood there before
    left_out   columns that items.csv cannot take by their name
    """

    frame: pl.DataFrame
    source: str = ""
    titled: bool = True
    repeated: int = 0
    left_out: tuple[str, ...] = ()

    def with_titles(self, titles: pl.DataFrame) -> ItemFacts:
        """Titles from the log for a file of items that has none; items that only the log knows come last."""
        named = facts_of(titles).frame
        joined = self.frame.drop("title").join(named, on="item_id", how="full", coalesce=True, maintain_order="left")
        return replace(self, frame=joined.select(self.frame.columns), titled=True)

    def with_years(self) -> ItemFacts:
        """MovieLens writes "Toy Story (1995)": the year becomes its own column."""
        year = pl.col("title").str.extract(r"\((\d{4})\)\s*$").fill_null("")
        title = pl.col("title").str.replace(r"\s*\(\d{4}\)\s*$", "")
        return replace(self, frame=self.frame.with_columns(title=title, release_year=year))

    def remarks(self, log_items: pl.Series) -> list[str]:
        """What does not fit between these items and those of the log; DataError where nothing does."""
        ids = log_items.unique()
        unknown = len(ids) - int(ids.is_in(self.frame["item_id"].implode()).sum())
        if unknown == len(ids) and unknown:
            raise DataError(
                f"expected the log's items in {self.source}; got none of them (the log has '{ids[0]}'); check that "
                "both use the same ids"
            )
        found = []
        if unknown:
            found.append(f"{unknown:,} of {len(ids):,} items of the log are not in {self.source}")
        if self.repeated:
            rows = "row repeats" if self.repeated == 1 else "rows repeat"
            found.append(f"{self.repeated:,} {rows} an item in {self.source}; its first row is taken")
        if self.left_out:
            names = ", ".join(f"'{name}'" for name in self.left_out)
            found.append(f"{names} of {self.source} left out: items.csv has columns of its own by that name")
        return found


def read_facts(source: Any, item: str, title: str | None, bad: BadRows) -> ItemFacts:
    """A file (CSV, TSV, Parquet, RecBole's .item) or a frame of items; its id column is called `item` or item_id.

    title   the column of titles; None takes the first of TITLE_COLUMNS. All other columns are kept by name.
    Raises DataError for a file that is not there or has no ids.
    """
    name, columns, read = _open(source, item)
    identity = (
        find_column(item, columns) or find_column("item_id", columns) or require_column(name, columns, item, "item")
    )
    named = find_column(title, columns) if title else title_column(columns, identity)
    others = {column: column for column in columns if column and column not in (identity, named, *OWN)}
    table = read({"item_id": identity, **({} if named is None else {TITLE: named}), **others}, bad)
    table = clean_ids(table, "item_id", identity, "an item id", bad)
    facts = facts_of(table.frame)
    return replace(
        facts,
        source=name,
        titled=named is not None,
        repeated=table.frame.height - facts.frame.height,
        left_out=tuple(column for column in columns if column in OWN and column not in (identity, named)),
    )


def facts_of(frame: pl.DataFrame, id_column: str = "item_id") -> ItemFacts:
    """The first row of each item that has a title, if one has; columns as text."""
    frame = frame.drop(LINE, PART, strict=False).rename({id_column: "item_id"})
    texts = frame.select(_as_text(column) for column in frame)
    if TITLE not in texts.columns:
        texts = texts.with_columns(title=pl.lit(None, pl.String))
    texts = texts.with_columns(title=pl.when(pl.col("title") != "").then("title"))
    first = texts.unique("item_id", keep="first", maintain_order=True)
    named = texts.drop_nulls("title").unique("item_id", keep="first").select("item_id", TITLE)
    joined = first.drop(TITLE).join(named, on="item_id", how="left", maintain_order="left")
    return ItemFacts(joined.select("item_id", TITLE, pl.exclude("item_id", TITLE)))


def write_items(items: pl.DataFrame, path: str | Path) -> None:
    """Write `Dataset.items` as UTF-8 CSV, through a temporary file: `path` holds all of it or is untouched.

    Text is always quoted, so that an id like "007" or an empty one stays what it is; control characters of titles and
    further columns become escapes. `Catalogue.parse` reads it. Raises DataError for a text too long for CSV readers.
    """
    for column in items.select(pl.col(pl.String)):
        longest = column.str.len_chars().arg_max()
        if longest is not None and len(column[longest]) > MOST_TEXT:
            raise DataError(
                f"expected texts of at most {MOST_TEXT:,} characters in '{column.name}'; got {len(column[longest]):,} "
                f"for item {printable(items[ITEM][longest][:40])!r}; shorten it"
            )
    shown = [pl.col(name).map_elements(printable, pl.String) for name in _with_control_characters(items)]
    with atomic_file(path) as file:
        items.with_columns(shown).write_csv(file, quote_style="non_numeric")


def _with_control_characters(items: pl.DataFrame) -> list[str]:
    """Columns that a reader may be shown, where their texts hold what cannot be."""
    texts = items.select(pl.col(pl.String).exclude(ITEM))
    return [column.name for column in texts if column.str.contains(UNSEEN).any()]


def _open(source: Any, item: str) -> tuple[str, list[str], Callable[[Wanted, BadRows], Table]]:
    """What a file or frame of items is called, its columns, and what reads some of them."""
    if is_frame(source):
        return (
            IN_MEMORY,
            frame_columns(source),
            lambda wanted, bad: read_frame(source, wanted, IN_MEMORY),
        )
    if not isinstance(source, str | Path):
        raise DataError(f"expected items as a file or a frame; got {source!r}; name a file")
    path = Path(source)
    if not path.is_file():
        raise DataError(f"expected a file of items; got {path}, which is not there; check the path")
    kind = _kind(path)
    if kind in PARQUET:
        return str(path), parquet_columns(path), lambda wanted, bad: read_parquet(path, wanted)
    if kind not in FORMATS:
        raise DataError(f"expected a file of items ({', '.join(FORMATS)}, {PARQUET[0]}); got {path}; convert it to CSV")
    file = DelimitedFile(path, FORMATS[kind], [item])
    if find_column(item, file.columns) is None:
        file = DelimitedFile(path, FORMATS[kind], ["item_id"])
    return str(path), file.columns, file.read


def _kind(path: Path) -> str:
    return next((suffix.lower() for suffix in reversed(path.suffixes) if suffix.lower() not in COMPRESSED), "")


def _as_text(column: pl.Series) -> pl.Series:
    """Lists as "Crime|Drama", whole decimals without their ".0"."""
    if isinstance(column.dtype, pl.List | pl.Array):
        return column.cast(pl.List(pl.String)).list.join("|", ignore_nulls=True)
    if isinstance(column.dtype, pl.Struct):
        return column.struct.json_encode()
    if column.dtype.is_float() and (column.drop_nulls() % 1 == 0).all():
        return column.cast(pl.String).str.replace(r"\.0$", "")
    return column.cast(pl.String)
