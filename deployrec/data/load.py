"""`load_dataset`: from a path, a frame or the name of the built-in sample to a Dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from deployrec.data.dataset import Dataset, Origin
from deployrec.data.frames import is_frame
from deployrec.data.log import build_dataset
from deployrec.data.readers import LogOptions, read_log
from deployrec.data.sample import sample_dataset
from deployrec.data.table import BadRows, OnBadRow
from deployrec.data.times import check_time_format
from deployrec.errors import DataError
from deployrec.progress import Progress, silent

SAMPLE = "sample"


def load_dataset(
    source: Any,
    *,
    user: str = "user_id",
    item: str = "item_id",
    time: str | None = "timestamp",
    title: str | None = None,
    time_format: str | None = None,
    sep: str | None = None,
    items: Any = None,
    on_bad_row: OnBadRow = "error",
    min_user: int = 1,
    min_item: int = 1,
    limit: int | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Read an event log.

    source     "sample" (the built-in data set); a file; a folder that holds one log, or the Parquet parts of one; a
               pattern of parts ("logs/2024-*.csv"); a polars or pandas frame, a LazyFrame, a pyarrow Table. Files:
               .csv, .tsv, .parquet, RecBole's X.inter (with X.item), MovieLens's ratings.dat (with movies.dat) and
               u.data (with u.item); text may be compressed (.gz, .zst, .bz2, .xz)
    user, item, time
               names of the columns (other capitals will do); time=None or "" takes the order of the file as the time's
    title      the column of item titles, in the log or in `items`; None finds a usual name
    time_format
               how times are written: a strptime format, "iso", "unix", "day-first" or "month-first"; None finds out,
               and refuses what can be read in two ways
    sep        what stands between the fields of a text file; None finds out: comma, semicolon, tab or bar in a .csv
    items      a file or frame of items, whose further columns come with the items: CSV, TSV, Parquet
    on_bad_row "error" refuses a log with a row that cannot be used; "skip" leaves such rows out and says so in `notes`
    min_user, min_item
               k-core: see `build_dataset`; 1 keeps everything
    limit      only the first `limit` users of the log
    progress   called with (done, total, what) while files are read, in bytes; see `deployrec.progress.working`

    A user or item id is never a missing value: null, NaN, an empty field and the texts that programs write for them
    ("nan", "None", "<NA>", "null"; in text files "NA", "N/A" and "\\N" too) make a row bad. Whole numbers of a float
    column are the same ids as integers: 10.0 is "10". A Dataset is handed back as it is.
    Raises DataError for a path that is not there, a column that is missing, a bad row, and a log without events.

    >>> load_dataset("sample").num_items
    480
    """
    given: dict[str, Any] = {
        "user": user, "item": item, "time": time, "title": title, "time_format": time_format, "sep": sep,
        "items": items, "on_bad_row": on_bad_row, "min_user": min_user, "min_item": min_item, "limit": limit,
    }  # fmt: skip
    defaults = load_dataset.__kwdefaults__ or {}
    given = {name: value for name, value in given.items() if name == "items" or value != defaults[name]}
    if items is None:
        del given["items"]
    if isinstance(source, Dataset):
        if given:
            raise DataError(f"expected a data set as it is; got {', '.join(given)} beside it; leave them out")
        return source
    _check_texts(user=user, item=item, time=time, title=title, time_format=time_format, sep=sep)
    _check(min_user, min_item, limit, on_bad_row, time_format)
    if isinstance(source, str) and source == SAMPLE:
        return _sample(given)
    if not (isinstance(source, str | Path) or is_frame(source)):
        raise DataError(
            f"expected a path or a frame (polars, pandas, Arrow); got {type(source).__name__}; make one of it"
        )
    options = LogOptions(user, item, time or None, title, time_format, sep if sep is None else _separator(sep))
    if len(set(options.named)) < len(options.named):
        raise DataError(f"expected three different columns; got '{user}', '{item}' and '{time}'; name each once")
    bad = BadRows(skip=on_bad_row == "skip")
    log, name, remarks = read_log(source, options, items, bad, progress)
    progress(0, 0, f"ordering the events of {name}")
    dataset = build_dataset(log, name, min_user, min_item, limit)
    return replace(dataset, notes=(*bad.notes(), *dataset.notes, *remarks), origin=_origin(source, given))


def _check_texts(**given: Any) -> None:
    for option, value in given.items():
        if value is not None and not isinstance(value, str):
            raise DataError(f"expected {option} as a text; got {value!r}; write it in quotes")


def _check(min_user: int, min_item: int, limit: int | None, on_bad_row: str, time_format: str | None) -> None:
    for option, value in (("min_user", min_user), ("min_item", min_item), ("limit", limit)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise DataError(
                f"expected {option} as a whole number of at least 1; got {value!r}; leave it out to keep everything"
            )
    if on_bad_row not in ("error", "skip"):
        raise DataError(f"expected on_bad_row out of error, skip; got '{on_bad_row}'; choose one of them")
    check_time_format(time_format)


def _sample(given: dict[str, Any]) -> Dataset:
    if given:
        raise DataError(f"expected the sample as it is; got {', '.join(given)}; leave options for a log out")
    return replace(sample_dataset(), origin=Origin(SAMPLE))


def _origin(source: Any, given: dict[str, Any]) -> Origin:
    """What a run records, so that it can read the same again; a frame is in memory only."""
    items = given.get("items")
    if isinstance(items, str | Path):
        given = {**given, "items": str(Path(items).absolute())}
    elif items is not None:
        given = {name: value for name, value in given.items() if name != "items"}
    return Origin(str(Path(source).absolute()) if isinstance(source, str | Path) else None, given)


def _separator(text: str) -> str:
    r"""What `--sep` means: "\t" and "tab" are a tab."""
    meant = {"tab": "\t", "\\t": "\t", "space": " ", "\\x01": "\x01"}.get(text, text)
    if not meant or set(meant) & {'"', "\n", "\r"}:
        raise DataError(f"expected a separator such as ';' or '\\t'; got {text!r}; name what stands between two fields")
    return meant
