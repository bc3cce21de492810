"""Which column of a log or of an items file is meant by a name."""

from __future__ import annotations

from collections.abc import Sequence

from deployrec.errors import DataError

TITLE_COLUMNS = ("title", "movie_title", "item_title", "product_title", "book_title", "name", "item_name")
USER, ITEM, TIME, TITLE = "user", "item", "time", "title"
Wanted = dict[str, str]
"""What a column is (USER, ITEM, TIME, TITLE, or its own name) -> its name in the file."""


def find_column(name: str, columns: Sequence[str]) -> str | None:
    """`name` as it stands in `columns`: exactly, or in other capitals where only one column has them."""
    if name in columns:
        return name
    alike = [column for column in columns if column.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def require_column(source: str, columns: Sequence[str], name: str, option: str) -> str:
    """As `find_column`; DataError where there is none."""
    found = find_column(name, columns)
    if found is None:
        raise DataError(
            f"expected column '{name}' in {source}; got {', '.join(columns)}; name the column to use with --{option}"
        )
    return found


def log_columns(
    source: str, columns: Sequence[str], user: str, item: str, time: str | None, title: str | None
) -> Wanted:
    """The columns of a log; a title is taken where one of TITLE_COLUMNS is there, or must be the one named."""
    wanted = {USER: require_column(source, columns, user, USER), ITEM: require_column(source, columns, item, ITEM)}
    if time is not None:
        wanted[TIME] = require_column(source, columns, time, TIME)
    if len(set(wanted.values())) < len(wanted):
        raise DataError(f"expected different columns in {source}; got {', '.join(wanted.values())}; name each once")
    found = require_column(source, columns, title, TITLE) if title else title_column(columns, *wanted.values())
    return wanted if found is None else {**wanted, TITLE: found}


def title_column(columns: Sequence[str], *taken: str) -> str | None:
    """The first of TITLE_COLUMNS that is there and not `taken`."""
    found = (find_column(name, columns) for name in TITLE_COLUMNS)
    return next((column for column in found if column is not None and column not in taken), None)


def refuse_twice(source: str, columns: Sequence[str]) -> None:
    """DataError for a name that stands twice; columns without a name may be many."""
    twice = [column for at, column in enumerate(columns) if column and column in columns[:at]]
    if twice:
        raise DataError(f"expected every column name once in {source}; got '{twice[0]}' twice; rename one of them")
