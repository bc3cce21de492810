"""Delimited text into columns: fast where every row is good, by file and line where one is not."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from deployrec.errors import DataError

LINE = "__line__"


@dataclass(frozen=True)
class DelimitedFile:
    """How a text file is cut into fields; `header` names the columns of a file that has no header line."""

    path: Path
    separator: str
    quoted: bool = False
    encoding: str = "utf-8-sig"
    header: tuple[str, ...] | None = None

    def columns(self) -> list[str]:
        """Column names; without RecBole's ":type". Raises DataError for a file without content."""
        if self.header is not None:
            return list(self.header)
        with _open(self) as file:
            fields = next(_fields(self, file), None)
        if not fields:
            raise DataError(
                f"expected a header line in {self.path}; got an empty file; write one column name per field"
            )
        return [(field if self.quoted else field.split(":")[0]).strip() for field in fields[1]]

    def read(self, wanted: list[str], optional: str | None = None) -> pl.DataFrame:
        """The `wanted` columns as text, empty fields as null; a column LINE is there where a row looked odd.

        optional   a wanted column whose fields may be empty
        Raises DataError with file and line for a row of too few or too many fields.
        """
        columns = self.columns()
        frame = self._read_fast(columns, wanted)
        if frame is None or any(frame[column].has_nulls() for column in wanted if column != optional):
            return self.read_by_line(wanted)
        return frame

    def read_by_line(self, wanted: list[str]) -> pl.DataFrame:
        """As `read`, slower, and always with the column LINE; blank lines are passed over."""
        columns = self.columns()
        positions = [columns.index(name) for name in wanted]
        rows: list[tuple[int, list[str]]] = []
        wrong: list[tuple[int, int]] = []
        with _open(self) as file:
            for number, (line, fields) in enumerate(_fields(self, file)):
                if number == 0 and self.header is None:
                    continue
                if len(fields) == len(columns):
                    rows.append((line, fields))
                elif any(field.strip() for field in fields):
                    wrong.append((line, len(fields)))
        if wrong:
            line, got = wrong[0]
            raise DataError(
                f"{self.path}:{line}: expected {len(columns)} fields ({', '.join(columns)}); got {got}; "
                f"mend or remove {_how_many(len(wrong))}"
            )
        texts = {name: [fields[at] or None for _, fields in rows] for name, at in zip(wanted, positions, strict=True)}
        return pl.DataFrame(
            {**texts, LINE: [line for line, _ in rows]}, schema_overrides=dict.fromkeys(wanted, pl.String)
        )

    def _read_fast(self, columns: list[str], wanted: list[str]) -> pl.DataFrame | None:
        """None where the text does not parse as a table at once."""
        content: Path | io.BytesIO = self.path
        separator = self.separator
        if len(separator) > 1:
            data = self.path.read_bytes()
            if b"\t" in data:
                return None
            content, separator = io.BytesIO(data.replace(separator.encode(), b"\t")), "\t"
        try:
            frame = pl.read_csv(
                content,
                separator=separator,
                quote_char='"' if self.quoted else None,
                has_header=self.header is None,
                new_columns=columns,
                infer_schema=False,
            )
        except (pl.exceptions.PolarsError, OSError):
            return None
        return frame.select(wanted)


def refuse_bad(path: Path, frame: pl.DataFrame, bad: pl.Series, column: str, expected: str) -> None:
    """Raise DataError for the first row where `bad` holds, naming `path` and its line (its row, in a Parquet file)."""
    if not bad.any():
        return
    rows = bad.arg_true()
    row = rows[0]
    where = f"{path}:{frame[LINE][row]}" if LINE in frame.columns else f"{path}: row {row + 1}"
    value = frame[column][row]
    got = "nothing" if value is None else repr(value)
    raise DataError(
        f"{where}: expected {expected} in column '{column}'; got {got}; mend or remove {_how_many(len(rows))}"
    )


def parse_times(texts: pl.Series) -> pl.Series:
    """Numbers that order the events, from whole numbers, decimals or ISO dates, whichever fits the most rows.

    Whole numbers stay int64, so that nanoseconds keep their order; unreadable rows come back as null.
    """
    readings = [texts.cast(pl.Int64, strict=False)]
    if readings[0].has_nulls():
        decimals = texts.cast(pl.Float64, strict=False)
        readings.append(decimals.set(~decimals.is_finite(), None))
        readings.append(_parse_dates(texts))
    return min(readings, key=lambda reading: reading.null_count())


def _parse_dates(texts: pl.Series) -> pl.Series:
    try:
        return texts.str.to_datetime(strict=False, time_unit="us", time_zone="UTC").cast(pl.Int64)
    except pl.exceptions.PolarsError:
        return pl.Series([None] * len(texts), dtype=pl.Int64)


def _how_many(rows: int) -> str:
    return "this row" if rows == 1 else f"all {rows} such rows"


def _open(file: DelimitedFile) -> io.TextIOWrapper:
    try:
        return open(file.path, encoding=file.encoding, newline="")
    except OSError as error:
        raise DataError(f"expected a readable file; got {file.path}: {error.strerror}; check the path") from error


def _fields(file: DelimitedFile, lines: io.TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
    """Line number (from 1; the last one of a quoted field that spans several) and fields of each row."""
    try:
        if len(file.separator) > 1:
            yield from ((number, line.rstrip("\r\n").split(file.separator)) for number, line in enumerate(lines, 1))
            return
        reader = csv.reader(
            lines, delimiter=file.separator, quoting=csv.QUOTE_MINIMAL if file.quoted else csv.QUOTE_NONE
        )
        for fields in reader:
            yield reader.line_num, fields
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected UTF-8 text in {file.path}; got byte {error.object[error.start]:#04x}; save the file as UTF-8"
        ) from error
    except csv.Error as error:
        raise DataError(
            f"expected delimited text in {file.path}; got a file that is not ({error}); check it"
        ) from error
