"""One function per file format, from a path to an EventLog; bad rows are refused by file and line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from deployrec.data.delimited import LINE, DelimitedFile, parse_times, refuse_bad
from deployrec.data.log import EventLog
from deployrec.errors import DataError

TITLE_COLUMNS = ("title", "movie_title", "item_title", "product_title", "book_title", "name", "item_name")


def read_recbole(path: Path, user: str, item: str, time: str | None) -> EventLog:
    """RecBole atomic file X.inter (tab-separated, header of name:type fields), with titles from X.item beside it.

    The first of TITLE_COLUMNS that X.item has becomes the title; its other columns are kept by name.
    """
    catalogue_path = path.with_suffix(".item")
    catalogue = None
    if catalogue_path.is_file():
        file = DelimitedFile(catalogue_path, "\t")
        columns = _require(catalogue_path, file.columns(), item)
        described = file.read([column for column in columns if column == item or column != "item_id"])
        catalogue = _catalogue(catalogue_path, described, item, _title_column(columns, item))
    return _event_log(DelimitedFile(path, "\t"), user, item, time, catalogue)


def read_csv(path: Path, user: str, item: str, time: str | None) -> EventLog:
    """Comma-separated (.csv) or tab-separated (.tsv) text with a header; a title column gives the items' titles."""
    file = DelimitedFile(path, "\t" if path.suffix == ".tsv" else ",", quoted=True)
    return _event_log(file, user, item, time, catalogue=None)


def read_parquet(path: Path, user: str, item: str, time: str | None) -> EventLog:
    """A Parquet file with named columns; ids may be text or numbers, times numbers, dates or text."""
    try:
        schema = pl.read_parquet_schema(path)
        columns = _Columns.among(path, list(schema), user, item, time)
        frame = pl.read_parquet(path, columns=columns.names())
        frame = frame.select(_as_text(column) for column in frame)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"expected a Parquet file; got {path}, which does not read as one; write it again") from error
    return _checked(path, frame, columns)


def read_movielens_1m(path: Path) -> EventLog:
    """MovieLens ratings.dat (user::item::rating::time, latin-1), with titles from movies.dat beside it."""
    movies, catalogue = path.with_name("movies.dat"), None
    if movies.is_file():
        file = DelimitedFile(movies, "::", encoding="latin-1", header=("item_id", "title", "genre"))
        catalogue = _split_year(_catalogue(movies, file.read(["item_id", "title", "genre"]), "item_id", "title"))
    file = DelimitedFile(path, "::", encoding="latin-1", header=("user_id", "item_id", "rating", "timestamp"))
    return _event_log(file, "user_id", "item_id", "timestamp", catalogue)


def read_movielens_100k(path: Path) -> EventLog:
    """MovieLens-100K u.data (tab-separated, no header), with titles from u.item beside it."""
    movies, catalogue = path.with_name("u.item"), None
    if movies.is_file():
        header = ("item_id", "title", "release_date", "video_date", "link", *(f"genre_{g}" for g in range(19)))
        file = DelimitedFile(movies, "|", encoding="latin-1", header=header)
        catalogue = _split_year(_catalogue(movies, file.read(["item_id", "title"]), "item_id", "title"))
    file = DelimitedFile(path, "\t", header=("user_id", "item_id", "rating", "timestamp"))
    return _event_log(file, "user_id", "item_id", "timestamp", catalogue)


@dataclass(frozen=True)
class _Columns:
    user: str
    item: str
    time: str | None
    title: str | None

    @classmethod
    def among(cls, path: Path, columns: list[str], user: str, item: str, time: str | None) -> _Columns:
        _require(path, columns, user, item, *([time] if time else []))
        return cls(user, item, time, _title_column(columns, user, item, time))

    def names(self) -> list[str]:
        return [column for column in (self.user, self.item, self.time, self.title) if column]


def _event_log(file: DelimitedFile, user: str, item: str, time: str | None, catalogue: pl.DataFrame | None) -> EventLog:
    columns = _Columns.among(file.path, file.columns(), user, item, time)
    if catalogue is not None:
        columns = replace(columns, title=None)
    frame = file.read(columns.names(), optional=columns.title)
    return _checked(file.path, frame, columns, catalogue, by_line=lambda: file.read_by_line(columns.names()))


def _checked(
    path: Path,
    frame: pl.DataFrame,
    columns: _Columns,
    catalogue: pl.DataFrame | None = None,
    by_line: Callable[[], pl.DataFrame] | None = None,
) -> EventLog:
    """The log of text columns in which every row is known to be good; `by_line` reads them again, with their lines."""
    for column, what in ((columns.user, "a user id"), (columns.item, "an item id")):
        refuse_bad(path, frame, frame[column].is_null(), column, what)
    times = None
    if columns.time is not None and frame.height:
        parsed = parse_times(frame[columns.time])
        if parsed.has_nulls() and by_line is not None and LINE not in frame.columns:
            return _checked(path, by_line(), columns, catalogue)
        refuse_bad(path, frame, parsed.is_null(), columns.time, "a number or an ISO date")
        times = parsed.to_numpy()
    if columns.title is not None:
        named = frame.select(columns.item, columns.title).drop_nulls()
        catalogue = _catalogue(path, named, columns.item, columns.title)
    return EventLog(str(path), frame[columns.user], frame[columns.item], times, catalogue)


def _require(path: Path, columns: list[str], *wanted: str) -> list[str]:
    for name in wanted:
        if name not in columns:
            raise DataError(f"expected column '{name}' in {path}; got {', '.join(columns)}; name the column to use")
    return columns


def _title_column(columns: list[str], *taken: str | None) -> str | None:
    return next((column for column in TITLE_COLUMNS if column in columns and column not in taken), None)


def _catalogue(path: Path, frame: pl.DataFrame, item: str, title: str | None) -> pl.DataFrame:
    refuse_bad(path, frame, frame[item].is_null(), item, "an item id")
    frame = frame.drop(LINE, strict=False).rename({item: "item_id"})
    return frame.with_columns(title=pl.col(title or "item_id")).drop([title] if title and title != "title" else [])


def _split_year(catalogue: pl.DataFrame) -> pl.DataFrame:
    """MovieLens writes "Toy Story (1995)": the year becomes its own column."""
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$").fill_null("")
    return catalogue.with_columns(title=pl.col("title").str.replace(r"\s*\(\d{4}\)\s*$", ""), release_year=year)


def _as_text(column: pl.Series) -> pl.Series:
    """Whole decimals, which a missing id makes of whole numbers in a dataframe, lose their ".0"."""
    if column.dtype.is_float() and (column.drop_nulls() % 1 == 0).all():
        column = column.cast(pl.Int64)
    return column.cast(pl.String)
