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


def clean_ids(table: Table, column: str, called: str, what: str, bad: BadRows) -> Table:
    """`table` with ids in `column` as text, without the rows that have none.

    called, what   what the user calls the column, and what is in it ("a user id"), for messages

    Whole numbers that a float column holds lose their ".0": 10.0 in a CSV, a float or an int column is the id "10".
    """
    ids = _as_text(table.frame[column], called)
    distinct = ids.unique()
    absent = ["", *MISSING, *(MISSING_IN_FILES if table.text else ())]
    bare = distinct.str.strip_chars()
    refused = distinct.filter(bare.is_in(absent) | bare.is_null())
    if len(refused):
        missing = ids.is_in(refused.drop_nulls().implode()) | ids.is_null()
        table = bad.drop(table.with_column(ids), missing.fill_null(True), called, what, ids)
        ids = table.frame[column]
    rounded = distinct.filter(distinct.str.contains(ROUNDED).fill_null(False))
    if len(rounded):
        lossy = ids.is_in(rounded.implode())
        table = bad.drop(table.with_column(ids), lossy, called, f"{what} with all its digits", ids)
        ids = table.frame[column]
    distinct = ids.unique()
    if distinct.str.contains(r"\.0+$").any() and distinct.str.contains(WHOLE).all():
        ids = ids.str.replace(r"\.0+$", "")
    return table.with_column(ids.alias(column))


def _as_text(ids: pl.Series, called: str) -> pl.Series:
    if ids.dtype.is_nested() or ids.dtype in (pl.Binary, pl.Object):
        raise DataError(f"expected ids as text or numbers in column '{called}'; got {ids.dtype}; convert it")
    if ids.dtype.is_float():
        ids = ids.set(~ids.is_finite().fill_null(True), None)
    return ids.cast(pl.String)
