"""items.csv: the catalogue as a bundle and a run carry it; the first data line is item row 1."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from deployrec.errors import DataError
from deployrec.files import atomic_file

FIRST_COLUMNS = ["item_id", "title", "popularity"]


def write_items(items: pl.DataFrame, path: str | Path) -> None:
    """Write `Dataset.items` as UTF-8 CSV, through a temporary file: `path` holds all of it or is untouched.

    Text is always quoted, so that an id like "007" or an empty one stays what it is.
    """
    with atomic_file(path) as file:
        items.write_csv(file, quote_style="non_numeric")


def read_items(path: str | Path) -> pl.DataFrame:
    """Read what `write_items` wrote: popularity as int, every other column as text.

    Raises DataError for a file that is not there or is not an items.csv.
    """
    try:
        items = pl.read_csv(path, infer_schema=False).fill_null("")
        popularity = items["popularity"].cast(pl.Int64)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"expected an items.csv at {path}; got a file that does not read as one; write it again"
        ) from error
    if items.columns[:3] != FIRST_COLUMNS:
        got = ", ".join(items.columns[:3])
        raise DataError(f"expected the columns {', '.join(FIRST_COLUMNS)} first in {path}; got {got}; write it again")
    if items["item_id"].n_unique() != items.height:
        twice = items["item_id"].filter(items["item_id"].is_duplicated())[0]
        raise DataError(f"expected every item_id once in {path}; got {twice!r} twice; write it again")
    return items.with_columns(popularity)
