"""Frames in memory and Parquet files as tables of the wanted columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from deployrec.data.columns import Wanted, refuse_twice
from deployrec.data.table import PART, Table
from deployrec.errors import DataError
from deployrec.files import first_line
from deployrec.progress import Progress, silent

IN_MEMORY = "the frame"


def is_frame(source: object) -> bool:
    """Whether `source` is a polars or pandas frame, or hands out Arrow data as a pyarrow Table does."""
    return (
        isinstance(source, pl.DataFrame | pl.LazyFrame) or hasattr(source, "__arrow_c_stream__") or _is_pandas(source)
    )


def frame_columns(source: Any) -> list[str]:
    """Column names of a frame; DataError for a name that stands twice."""
    if isinstance(source, pl.LazyFrame):
        with _broken_frame():
            columns = source.collect_schema().names()
    elif isinstance(source, pl.DataFrame) or _is_pandas(source):
        columns = [str(column) for column in source.columns]
    else:
        with _broken_frame():
            columns = pl.DataFrame(source).columns
    refuse_twice(IN_MEMORY, columns)
    return columns


def read_frame(source: Any, wanted: Wanted, called: str = IN_MEMORY) -> Table:
    """The `wanted` columns of a frame in memory, by their own names."""
    if isinstance(source, pl.DataFrame):
        frame = source
    elif isinstance(source, pl.LazyFrame):
        with _broken_frame():
            frame = source.select(set(wanted.values())).collect()
    elif _is_pandas(source):
        by_name = {str(column): column for column in source.columns}
        frame = pl.DataFrame([_from_pandas(name, source[by_name[name]]) for name in set(wanted.values())])
    else:
        with _broken_frame():
            frame = pl.DataFrame(source)
    return Table.of_frame(frame.select(pl.col(column).alias(name) for name, column in wanted.items()), called)


def parquet_columns(path: Path) -> list[str]:
    """Column names of a Parquet file; DataError for a file that is none."""
    try:
        columns = list(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _no_parquet(path, error) from error
    refuse_twice(str(path), columns)
    return columns


def read_parquet(path: Path, wanted: Wanted, progress: Progress = silent) -> Table:
    """The `wanted` columns of a Parquet file, by their own names."""
    size = path.stat().st_size
    progress(0, size, f"reading {path.name}")
    try:
        frame = pl.read_parquet(path, columns=list(dict.fromkeys(wanted.values())))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _no_parquet(path, error) from error
    progress(size, size, f"reading {path.name}")
    return Table.of_frame(frame.select(pl.col(column).alias(name) for name, column in wanted.items()), str(path))


def join_parts(tables: Sequence[Table]) -> Table:
    """Tables with the same columns as one; DataError where a column is of another kind in one of them."""
    if len(tables) == 1:
        return tables[0]
    frames = []
    for at, table in enumerate(tables):
        for name, kind in table.frame.schema.items():
            first = tables[0].frame.schema[name]
            if name == "time" and _kind(kind) != _kind(first):
                raise DataError(
                    f"expected one type of times in all parts; got {first} in {tables[0].source} and {kind} in "
                    f"{table.source}; write them alike"
                )
        frames.append(table.frame.with_columns(pl.lit(at, pl.UInt32).alias(PART)))
    parts = tuple(part for table in tables for part in table.parts)
    return Table(_concat(frames), parts, tables[0].unit, tables[0].text)


def _concat(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """One frame; ids that are numbers in one part and text in another become text."""
    unlike = [name for name in frames[0].columns if len({frame.schema[name] for frame in frames}) > 1]
    as_text = [name for name in unlike if name != "time"]
    texts = [frame.with_columns(pl.col(name).cast(pl.String) for name in as_text) for frame in frames]
    if "time" in unlike and any(frame.schema["time"] == pl.Datetime("ns") for frame in frames):
        # polars joins nanoseconds and microseconds as microseconds.
        texts = [frame.with_columns(pl.col("time").cast(pl.Datetime("ns"))) for frame in texts]
    return pl.concat(texts, how="vertical_relaxed")


def _kind(dtype: pl.DataType) -> str:
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        return "date with a zone"
    return "date" if dtype.is_temporal() else "text"


def _is_pandas(source: object) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas" and hasattr(source, "columns")


def _from_pandas(name: str, column: Any) -> pl.Series:
    """By way of Arrow where pyarrow is there and knows the column; else as text, missing values kept apart."""
    try:
        return pl.Series(name, pl.from_pandas(column))
    except (ImportError, TypeError, ValueError, pl.exceptions.PolarsError):
        missing = column.isna()
        texts = [None if absent else str(value) for value, absent in zip(column, missing, strict=True)]
        return pl.Series(name, texts, dtype=pl.String)


@contextmanager
def _broken_frame() -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"expected a frame that can be read; got '{first_line(error)}'; mend it") from error


def _no_parquet(path: Path, error: Exception) -> DataError:
    return DataError(
        f"expected a Parquet file; got {path}, which does not read as one ({first_line(error)}); write it again"
    )
