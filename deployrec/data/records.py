"""A block of lines cut into rows: checked at once where every line is a plain row, one by one where a line is odd."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

LONGEST_OPEN = 1 << 17
"""Bytes after which a quote that nobody closes is given up."""


@dataclass(frozen=True)
class RowShape:
    """What a row looks like: how many fields, between which separator (one byte), quoted as in CSV or never.

    number     position of a field that begins with a digit in every row, if there is one: it tells a row from a line
               of text inside a quoted field
    """

    fields: int
    separator: str
    quoted: bool
    number: int | None = None


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a block.

    content    the good ones, as text that any CSV reader cuts alike
    lines      int64, the line each good row begins on
    bad        line and what was wrong (how many fields, mostly) of the others
    rest       a row at the end of the block that goes on in the next one
    """

    content: bytes
    lines: NDArray[np.int64]
    bad: list[tuple[int, str]]
    rest: bytes = b""


def cut(block: bytes, first: int, shape: RowShape, last: bool) -> Rows:
    """The rows of `block`, whole lines of which the first has number `first`; `last`: nothing comes after it.

    Raises UnicodeDecodeError for odd lines that are not UTF-8.
    """
    quoted = has_quoted_field(block, shape)
    if not quoted:
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == ord("\n"))
        before = np.searchsorted(np.flatnonzero(data == ord(shape.separator)), ends)
        if (np.diff(before, prepend=0) == shape.fields - 1).all():
            return Rows(block, np.arange(first, first + len(ends)), [])
    return _cut_lines(block.decode().split("\n")[:-1], first, replace(shape, quoted=quoted), last, block)


def has_quoted_field(text: bytes, shape: RowShape) -> bool:
    """Whether a quote opens a field: any other, as of 15" screens, is a letter."""
    separated = f'{shape.separator}"'.encode()
    return shape.quoted and (text.startswith(b'"') or b'\n"' in text or separated in text)


def _cut_lines(lines: list[str], first: int, shape: RowShape, last: bool, block: bytes) -> Rows:
    texts = pl.Series(lines, dtype=pl.String)
    counts = _count_fields(texts, shape).to_numpy()
    good = counts == shape.fields
    blank = (texts.str.strip_chars(shape.separator + " \t\r\v\f") == "").to_numpy()
    odd = np.flatnonzero(~good & ~blank)
    if not len(odd) and good.all():
        return Rows(block, np.arange(first, first + len(lines)), [])
    if not shape.quoted:
        bad = [(first + at, str(counts[at])) for at in odd.tolist()]
        return _gather(lines, good, first, bad)
    return _mend(lines, good, odd.tolist(), first, shape, last)


def _count_fields(texts: pl.Series, shape: RowShape) -> pl.Series:
    """Fields of each line; 0 for one with quotes that are not wholly around fields."""
    if shape.quoted:
        s = re.escape(shape.separator)
        clean = texts.str.contains(rf'^(?:"(?:[^"]|"")*"|[^"{s}]*)(?:{s}(?:"(?:[^"]|"")*"|[^"{s}]*))*\r?$')
        bare = texts.str.replace_all('"[^"]*"', "")
        counts = bare.str.count_matches(shape.separator, literal=True) + 1
        return counts.set(~clean, 0)
    return texts.str.count_matches(shape.separator, literal=True) + 1


def _mend(lines: list[str], good: NDArray[np.bool_], odd: list[int], first: int, shape: RowShape, last: bool) -> Rows:
    """Reads the odd lines of a CSV: stray quotes, fields over several lines, and rows that are none."""
    bad: list[tuple[int, str]] = []
    done = 0
    for at in odd:
        if at < done:
            continue
        row = _row_from(lines, at, shape)
        if row.is_open and row.stop == len(lines) and not last:
            rest = "\n".join(lines[at:]) + "\n"
            if len(rest) < LONGEST_OPEN:
                good[at:] = False
                return _gather(lines, good, first, bad, rest.encode())
        if not row.fields:
            bad.append((first + at, "a quote that encloses no field"))
            continue
        if len(row.fields) == shape.fields:
            # The row stands on its first line, written so that every reader cuts it alike.
            lines[at], good[at] = _written(row.fields, shape.separator), True
        else:
            bad.append((first + at, str(len(row.fields))))
        good[at + 1 : row.stop] = False
        done = row.stop
    return _gather(lines, good, first, bad)


class _Row(NamedTuple):
    fields: list[str]
    """none where quotes make no row of the lines"""
    stop: int
    """the line after the last one that was looked at"""
    is_open: bool = False


def _row_from(lines: Sequence[str], at: int, shape: RowShape) -> _Row:
    """The row that begins on line `at`.

    A line inside a quoted field that is a whole row by itself shows that the quote was never meant to open a field; the
    line that closes it does only where the first one may be a row too: a first column may well end in such a line.
    """
    stop = at + 1
    text = lines[at].removesuffix("\r")
    size = len(text)
    fields = _fields(text, shape.separator)
    may_be_row = text.count(shape.separator) >= shape.fields - 1
    while fields is None and stop < len(lines) and size < LONGEST_OPEN:
        line = lines[stop]
        if '"' in line:
            fields = _fields("\n".join(lines[at : stop + 1]).removesuffix("\r"), shape.separator)
        if (may_be_row or fields is None) and _is_row(line.removesuffix("\r"), shape):
            return _Row([], stop)
        size += len(line)
        stop += 1
    return _Row(fields or [], stop, fields is None)


def _fields(text: str, separator: str) -> list[str] | None:
    """The fields of one row; None where a quoted field is still open, [] where its quotes are wrong."""
    try:
        return next(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error as error:
        return None if str(error) == "unexpected end of data" else []


def _is_row(line: str, shape: RowShape) -> bool:
    fields = _fields(line, shape.separator)
    if not fields or len(fields) != shape.fields:
        return False
    return shape.number is None or re.match(r"\s*-?\d", fields[shape.number]) is not None


def _written(fields: list[str], separator: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(fields)
    return text.getvalue().removesuffix("\n")


def _gather(
    lines: list[str], good: NDArray[np.bool_], first: int, bad: list[tuple[int, str]], rest: bytes = b""
) -> Rows:
    kept = np.flatnonzero(good)
    content = "".join(f"{lines[at]}\n" for at in kept)
    return Rows(content.encode(), kept + first, bad, rest)
