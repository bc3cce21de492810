"""User and item ids as text: one id is one text whatever it was stored as, and a missing value is no id."""

from __future__ import annotations

import polars as pl

from deployrec.data.table import BadRows, Table
from deployrec.errors import DataError

MISSING = ("nan", "NaN", "-nan", "None", "<NA>", "NaT", "null", "NULL")
"""What programs make of a missing value when they turn it into text, in frames too."""
MISSING_IN_FILES = ("NA", "N/A", "n/a", "#N/A", "#NA", r"\N", "(null)")
"""What text files, which have no missing value of their own, hold instead; in a frame these are ordinary text."""
WHOLE = r"^-?\d+(?:\.0+)?$"
ROUNDED = r"^-?(?:\d(?:\.\d+)?[eE]\+\d+|(?:9\d{15}|\d{17,})\.0+)$"
"""How spreadsheets and float columns write a number that they could not hold exactly: 5.01E+12, 1e+18."""

LOSSY = "__lossy__"


def clean_ids(table: Table, column: str, called: str, what: str, bad: BadRows) -> Table:
    """`table` with ids in `column` as text, without the rows that have none.

    called, what   what the user calls the column, and what is in it ("a user id"), for messages

    Whole numbers that a float column holds lose their ".0": 10.0 in a CSV, a float or an int column is the id "10".
    Blanks around ids are kept, unless one stands before every id of the column, as after the commas of "7, 31, 5".
    """
    held = table.frame[column]
    if held.dtype.is_nested() or held.dtype in (pl.Binary, pl.Object):
        raise DataError(f"expected ids as text or numbers in column '{called}'; got {held.dtype}; convert it")
    if held.dtype.is_float():
        held = held.fill_nan(None)
    ids = held.cast(pl.String)
    distinct = ids.unique()
    absent = ["", *MISSING, *(MISSING_IN_FILES if table.text else ())]
    missing = ids.is_null() | _among(ids, distinct.filter(distinct.str.strip_chars().is_in(absent)))
    rounded = _among(ids, distinct.filter(distinct.str.contains(ROUNDED)))
    if held.dtype.is_float():
        missing |= ~held.is_finite().fill_null(True)
        rounded |= (held.abs() > (2**24 if held.dtype == pl.Float32 else 2**53)).fill_null(False)
    table = table.with_column(ids).with_column(rounded.alias(LOSSY))
    table = bad.drop(table, missing, called, what, ids)
    rounded = table.frame[LOSSY]
    table = bad.drop(table, rounded, called, f"{what} with all its digits", table.frame[column]).without(LOSSY)
    ids = table.frame[column]
    distinct = ids.unique()
    if len(distinct) and distinct.str.contains(r"^\s").all():
        ids, distinct = ids.str.strip_chars(), distinct.str.strip_chars()
    if distinct.str.contains(r"\.0+$").any() and distinct.str.contains(WHOLE).all():
        ids = ids.str.replace(r"\.0+$", "")
    return table.with_column(ids)


def _among(ids: pl.Series, few: pl.Series) -> pl.Series:
    if not len(few):
        return pl.repeat(False, len(ids), dtype=pl.Boolean, eager=True)
    return ids.is_in(few.implode()).fill_null(False)
