"""One function per file format, from a path to an EventLog; bad rows are refused by file and line."""

from __future__ import annotations

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
        described = file.read(columns)
        catalogue = _catalogue(catalogue_path, described, item, next((c for c in TITLE_COLUMNS if c in columns), None))
    return _event_log(path, DelimitedFile(path, "\t"), user, item, time, catalogue=catalogue)


def read_csv(path: Path, user: str, item: str, time: str | None) -> EventLog:
    """Comma-separated (.csv) or tab-separated (.tsv) text with a header; a title column gives the items' titles."""
    return _event_log(path, DelimitedFile(path, "\t" if path.suffix == ".tsv" else ",", quoted=True), user, item, time)


def read_parquet(path: Path, user: str, item: str, time: str | None) -> EventLog:
    """A Parquet file with named columns; ids may be text or numbers, times numbers, dates or text."""
    try:
        schema = pl.read_parquet_schema(path)
        columns = _require(path, list(schema), user, item, *([time] if time else []))
        title = next((column for column in TITLE_COLUMNS if column in columns), None)
        frame = pl.read_parquet(path, columns=[c for c in (user, item, time, title) if c])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"expected a Parquet file; got {path}, which does not read as one; write it again") from error
    return _checked(path, frame.with_columns(pl.all().map_batches(_as_text)), user, item, time, title, None)


def read_movielens_1m(path: Path) -> EventLog:
    """MovieLens ratings.dat (user::item::rating::time, latin-1), with titles from movies.dat beside it."""
    movies, catalogue = path.with_name("movies.dat"), None
    if movies.is_file():
        file = DelimitedFile(movies, "::", encoding="latin-1", header=("item_id", "title", "genre"))
        catalogue = _split_year(_catalogue(movies, file.read(["item_id", "title", "genre"]), "item_id", "title"))
    file = DelimitedFile(path, "::", encoding="latin-1", header=("user_id", "item_id", "rating", "timestamp"))
    return _event_log(path, file, "user_id", "item_id", "timestamp", catalogue=catalogue)


def read_movielens_100k(path: Path) -> EventLog:
    """MovieLens-100K u.data (tab-separated, no header), with titles from u.item beside it."""
    movies, catalogue = path.with_name("u.item"), None
    if movies.is_file():
        header = ("item_id", "title", "release_date", "video_date", "link", *(f"genre_{g}" for g in range(19)))
        file = DelimitedFile(movies, "|", encoding="latin-1", header=header)
        catalogue = _split_year(_catalogue(movies, file.read(["item_id", "title"]), "item_id", "title"))
    file = DelimitedFile(path, "\t", header=("user_id", "item_id", "rating", "timestamp"))
    return _event_log(path, file, "user_id", "item_id", "timestamp", catalogue=catalogue)


def _event_log(
    path: Path, file: DelimitedFile, user: str, item: str, time: str | None, catalogue: pl.DataFrame | None = None
) -> EventLog:
    columns = _require(path, file.columns(), user, item, *([time] if time else []))
    title = None
    if catalogue is None:
        title = next((column for column in TITLE_COLUMNS if column in columns), None)
    wanted = [column for column in (user, item, time) if column]
    return _checked(path, file.read(wanted + ([title] if title else [])), user, item, time, title, catalogue)


def _checked(
    path: Path,
    frame: pl.DataFrame,
    user: str,
    item: str,
    time: str | None,
    title: str | None,
    catalogue: pl.DataFrame | None,
) -> EventLog:
    """The log of text columns in which every row is known to be good."""
    for column, what in ((user, "a user id"), (item, "an item id")):
        refuse_bad(path, frame, frame[column].is_null(), column, what)
    times = None
    if time is not None and frame.height:
        parsed = parse_times(frame[time])
        refuse_bad(path, frame, parsed.is_null(), time, "a number or an ISO date")
        times = parsed.to_numpy()
    if title is not None:
        catalogue = _catalogue(path, frame.select(item, title).drop_nulls(), item, title)
    return EventLog(str(path), frame[user], frame[item], times, catalogue)


def _require(path: Path, columns: list[str], *wanted: str) -> list[str]:
    for name in wanted:
        if name not in columns:
            raise DataError(f"expected column '{name}' in {path}; got {', '.join(columns)}; name the column to use")
    return columns


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
