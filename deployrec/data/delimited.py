"""Delimited text into columns: by blocks of lines, so that a bad row is found as fast as a clean file is read."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import polars as pl

from deployrec.data.binary import blocks
from deployrec.data.columns import Wanted, find_column, refuse_twice
from deployrec.data.records import RowShape, cut, has_quoted_field
from deployrec.data.table import EXAMPLES, LINE, PART, BadRows, Table
from deployrec.errors import DataError
from deployrec.progress import Progress, silent

Quoting = Literal["csv", "tsv", "none"]
INNER_SEPARATOR = "\x1f"
"""ASCII's unit separator: what a separator of several bytes becomes, as polars takes a single one."""


@dataclass(frozen=True)
class TextFormat:
    """How a text file is cut into fields.

    separators   candidates: the first one that finds the wanted columns in the header is taken
    quoting      csv: a quoted field may hold separators and newlines. tsv: one line is one row; only quotes around a
                 whole field are taken off. none: a quote is a letter like any other.
    header       names of the columns of a file that has no header line
    typed        the header's names end in ":type", as RecBole writes them
    """

    separators: tuple[str, ...]
    quoting: Quoting = "none"
    encoding: str = "utf-8"
    header: tuple[str, ...] = ()
    typed: bool = False


class DelimitedFile:
    """An opened file whose header is known; `read` then takes its rows, once."""

    def __init__(self, path: Path, form: TextFormat, wanted: Sequence[str] = (), progress: Progress = silent) -> None:
        """Reads the header; DataError for a file without content or with a name twice in its header."""
        self.path = path
        self._form = form
        self._blocks = blocks(path, form.encoding, progress)
        self._line = 1
        self.separator, self.columns = form.separators[0], list(form.header)
        if not form.header:
            self.separator, self.columns = self._read_header(wanted)
            refuse_twice(str(path), self.columns)

    def read(self, wanted: Wanted, bad: BadRows, number: str | None = None) -> Table:
        """The `wanted` columns as text, by their own names, with the lines they stand on.

        number    the column in which every row has a number or a date, if there is one
        """
        positions = {name: self.columns.index(column) for name, column in wanted.items()}
        shape = RowShape(
            len(self.columns),
            self.separator if len(self.separator.encode()) == 1 else INNER_SEPARATOR,
            self._form.quoting == "csv",
            None if number is None else positions[number],
        )
        frames = list(self._frames(shape, positions, bad))
        schema = {**dict.fromkeys(positions, pl.String), LINE: pl.UInt32, PART: pl.UInt32}
        frame = pl.concat([pl.DataFrame(schema=schema), *frames])
        if self._form.quoting == "tsv":
            frame = frame.with_columns(_unquoted(frame[name]) for name in positions)
        return Table(frame, (str(self.path),), ":", text=True)

    def _frames(self, shape: RowShape, positions: dict[str, int], bad: BadRows) -> Iterator[pl.DataFrame]:
        wrong: list[tuple[int, str]] = []
        rest, block = b"", next(self._blocks, b"")
        while block:
            following = next(self._blocks, b"")
            block, line = rest + self._translated(block, shape.separator), self._line
            try:
                rows = cut(block, line, shape, last=not following)
                rest = rows.rest
                self._line += block.count(b"\n") - rest.count(b"\n")
                wrong += rows.bad
                if len(rows.lines):
                    frame = _parse(rows.content, shape, positions)
                    yield frame.with_columns(
                        pl.Series(LINE, rows.lines, dtype=pl.UInt32), pl.lit(0, pl.UInt32).alias(PART)
                    )
            except UnicodeDecodeError as error:
                raise self._not_utf_8(block, line) from error
            block = following
        places = [f"{self.path}:{line}" for line, _ in wrong[:EXAMPLES]]
        names = ", ".join(self.columns)
        bad.add(places, len(wrong), f"{shape.fields} fields ({names})", wrong[0][1] if wrong else "")

    def _read_header(self, wanted: Sequence[str]) -> tuple[str, list[str]]:
        """The separator and the names on the first line that is not blank; "sep=;" before it names the separator."""
        separators = self._form.separators
        for block in self._blocks:
            rest = block
            while rest:
                line, _, rest = rest.partition(b"\n")
                self._line += 1
                text = self._decoded(line).strip("\r")
                if text.startswith("sep=") and len(text) == 5:
                    separators = (text[4],)
                elif text.strip():
                    self._blocks = chain([rest] if rest else [], self._blocks)
                    return self._choose(text, separators, wanted)
        raise DataError(f"expected a header line in {self.path}; got an empty file; write one column name per field")

    def _choose(self, line: str, separators: Sequence[str], wanted: Sequence[str]) -> tuple[str, list[str]]:
        headers = [self._names(line, separator) for separator in separators]
        fit = (all(find_column(name, header) for name in wanted) for header in headers)
        chosen = next((at for at, fits in enumerate(fit) if fits), 0)
        return separators[chosen], headers[chosen]

    def _names(self, line: str, separator: str) -> list[str]:
        if self._form.quoting == "none" or len(separator) > 1:
            fields = line.split(separator)
        else:
            try:
                fields = next(csv.reader([line], delimiter=separator))
            except csv.Error as error:
                raise DataError(
                    f"expected column names on line {self._line - 1} of {self.path}; got a line that does not read "
                    f"as a header ({error}); mend it"
                ) from error
        return [(field.split(":")[0] if self._form.typed else field).strip() for field in fields]

    def _translated(self, block: bytes, separator: str) -> bytes:
        if b"\0" in block:
            line = self._line + block[: block.index(b"\0")].count(b"\n")
            raise DataError(f"{self.path}:{line}: expected text; got a zero byte; save the file as UTF-8")
        if separator != self.separator:
            return block.replace(self.separator.encode(), separator.encode())
        return block

    def _decoded(self, line: bytes) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise self._not_utf_8(line, self._line - 1) from error

    def _not_utf_8(self, block: bytes, first: int) -> DataError:
        """The error for a block whose first line has number `first`."""
        try:
            block.decode()
        except UnicodeDecodeError as error:
            line = first + block[: error.start].count(b"\n")
            return DataError(
                f"{self.path}:{line}: expected UTF-8 text; got byte {block[error.start]:#04x}; save the file as UTF-8"
            )
        raise AssertionError("a block that decodes")


def _parse(content: bytes, shape: RowShape, positions: dict[str, int]) -> pl.DataFrame:
    """The wanted columns of rows that are known to have the right number of fields."""
    names = [str(place) for place in range(shape.fields)]
    try:
        frame = pl.read_csv(
            content,
            has_header=False,
            separator=shape.separator,
            quote_char='"' if has_quoted_field(content, shape) else None,
            schema=dict.fromkeys(names, pl.String),
            columns=sorted(set(positions.values())),
        )
    except pl.exceptions.ComputeError:
        content.decode()
        raise
    return frame.select(pl.col(names[place]).alias(name) for name, place in positions.items())


def _unquoted(column: pl.Series) -> pl.Series:
    whole = column.str.contains('^"(?:[^"]|"")*"$').fill_null(False)
    if not whole.any():
        return column
    inner = column.str.slice(1, column.str.len_chars() - 2).str.replace_all('""', '"', literal=True)
    return inner.zip_with(whole, column)
