"""The files of a log, of whatever format, as one table; and what lies beside them about its items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployrec.data.binary import COMPRESSED
from deployrec.data.columns import ITEM, TIME, TITLE, USER, Wanted, log_columns
from deployrec.data.delimited import DelimitedFile, TextFormat
from deployrec.data.frames import IN_MEMORY, frame_columns, join_parts, parquet_columns, read_frame, read_parquet
from deployrec.data.ids import clean_ids
from deployrec.data.items import ItemFacts, facts_of, read_facts
from deployrec.data.log import EventLog
from deployrec.data.sources import MOVIELENS, PARQUET, LogFiles, find_log, stem
from deployrec.data.table import BadRows, Table
from deployrec.data.times import expected_time, read_times
from deployrec.errors import DataError
from deployrec.progress import Progress

RATINGS = ("user_id", "item_id", "rating", "timestamp")
FORMATS = {
    ".csv": TextFormat((",", ";", "\t", "|"), "csv"),
    ".tsv": TextFormat(("\t",), "tsv"),
    ".inter": TextFormat(("\t",), typed=True),
    "ratings.dat": TextFormat(("::",), encoding="latin-1", header=RATINGS),
    "u.data": TextFormat(("\t",), encoding="latin-1", header=RATINGS),
}
MOVIES = {
    "ratings.dat": ("movies.dat", TextFormat(("::",), encoding="latin-1", header=("item_id", "title", "genre"))),
    "u.data": (
        "u.item",
        TextFormat(
            ("|",),
            encoding="latin-1",
            header=("item_id", "title", "release_date", "video_date", "link", *(f"genre_{g}" for g in range(19))),
        ),
    ),
}
MOVIE_COLUMNS = ("title", "genre")


@dataclass(frozen=True)
class LogOptions:
    """What `load_dataset` was told about the log's format; its docstring explains each."""

    user: str = "user_id"
    item: str = "item_id"
    time: str | None = "timestamp"
    title: str | None = None
    time_format: str | None = None
    sep: str | None = None

    @property
    def named(self) -> list[str]:
        """The columns that a log must have."""
        return [self.user, self.item, *([self.time] if self.time is not None else [])]

    def columns(self, source: str, columns: Sequence[str], title: bool) -> Wanted:
        """Which of `columns` are the log's; `title`: whether items have their titles from the log."""
        wanted = log_columns(source, columns, self.user, self.item, self.time, self.title if title else None)
        return wanted if title else {name: column for name, column in wanted.items() if name != TITLE}


def read_log(
    source: Any, options: LogOptions, items: Any, bad: BadRows, progress: Progress
) -> tuple[EventLog, str, list[str]]:
    """The events of a log, good rows only, what it is called, and remarks on its items."""
    facts = None if items is None else read_facts(items, options.item, options.title, bad)
    if isinstance(source, str | Path):
        files = find_log(source, any_text=options.sep is not None)
        facts = facts or _facts_beside(files, options, bad)
        table, wanted = _read_files(files, options, facts is None or not facts.titled, bad, progress)
        name = files.name
    else:
        wanted = options.columns(IN_MEMORY, frame_columns(source), facts is None or not facts.titled)
        table, name = read_frame(source, wanted), "frame"
    table, unit = _good_rows(table, wanted, options, bad)
    frame = table.frame
    remarks = facts.remarks(frame[ITEM]) if items is not None and facts is not None else []
    if TITLE in wanted:
        titles = frame.select(ITEM, TITLE).rename({ITEM: "item_id", TITLE: "title"})
        facts = facts_of(titles) if facts is None else facts.with_titles(titles)
    times = frame[TIME].to_numpy() if TIME in wanted else None
    catalogue = None if facts is None else facts.frame
    return EventLog(table.source, frame[USER], frame[ITEM], times, unit, catalogue), name, remarks


def _read_files(
    files: LogFiles, options: LogOptions, titled: bool, bad: BadRows, progress: Progress
) -> tuple[Table, Wanted]:
    tables = []
    wanted: Wanted = {}
    for path in files.files:
        if files.kind in PARQUET:
            wanted = options.columns(str(path), parquet_columns(path), titled)
            table = read_parquet(path, wanted, progress)
        else:
            form = FORMATS[files.kind] if options.sep is None else _separated(files.kind, options.sep)
            file = DelimitedFile(path, form, options.named, progress)
            wanted = options.columns(str(path), file.columns, titled)
            table = file.read(wanted, bad, number=TIME if TIME in wanted else None)
        tables.append(table)
    return join_parts(tables), wanted


def _separated(kind: str, separator: str) -> TextFormat:
    form = FORMATS[kind]
    return TextFormat((separator,), form.quoting, form.encoding, form.header, form.typed)


def _good_rows(table: Table, wanted: Wanted, options: LogOptions, bad: BadRows) -> tuple[Table, str]:
    """Ids as text and times as numbers of a unit, without the rows where one is missing or cannot be read."""
    table = clean_ids(table, USER, wanted[USER], "a user id", bad)
    table = clean_ids(table, ITEM, wanted[ITEM], "an item id", bad)
    if TIME not in wanted or not table.frame.height:
        return table, ""
    texts = table.frame[TIME]
    expected = expected_time(options.time_format)
    times, unit = read_times(texts, options.time_format, table.where)
    if times.null_count() == len(times) > texts.null_count():
        row = texts.is_not_null().arg_true()[0]
        raise DataError(
            f"{table.where(row)}: expected {expected} in column '{wanted[TIME]}'; got {str(texts[row])!r}, and no "
            "other row has one; name the format with --time-format, or another column with --time"
        )
    return bad.drop(table.with_column(times.alias(TIME)), times.is_null(), wanted[TIME], expected, texts), unit


def _facts_beside(files: LogFiles, options: LogOptions, bad: BadRows) -> ItemFacts | None:
    """What MovieLens and RecBole put beside their logs: movies.dat, u.item, X.item."""
    path = files.files[0]
    if files.kind in MOVIELENS:
        name, form = MOVIES[files.kind]
        movies = path.with_name(name)
        if not movies.is_file():
            return None
        file = DelimitedFile(movies, form)
        known = [column for column in MOVIE_COLUMNS if column in file.columns]
        table = file.read({ITEM: "item_id", **{column: column for column in known}}, bad)
        return facts_of(clean_ids(table, ITEM, "item_id", "an item id", bad).frame, id_column=ITEM).with_years()
    if files.kind == ".inter":
        for suffix in ("", *COMPRESSED):
            beside = path.with_name(f"{stem(path)}.item{suffix}")
            if beside.is_file():
                return read_facts(beside, options.item, options.title, bad)
    return None
