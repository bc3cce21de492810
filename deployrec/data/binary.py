"""A text file as blocks of whole lines, whatever it is compressed with."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import polars as pl

from deployrec.errors import DataError
from deployrec.progress import Progress, silent

BLOCK = 1 << 24
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
UNPACK: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
ZSTANDARD = b"\x28\xb5\x2f\xfd"
OTHER = {
    b"PAR1": "a Parquet file; name it .parquet",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save it as CSV",
}
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def blocks(path: Path, encoding: str = "utf-8", progress: Progress = silent) -> Iterator[bytes]:
    r"""UTF-8 content in blocks that end with a newline, without a byte order mark; DataError for what does not unpack.

    How a file is compressed is read from its first bytes. A file whose lines end in a lone "\r" gets newlines.
    """
    with _errors(path), open(path, "rb") as raw:
        size, rest, first = os.fstat(raw.fileno()).st_size, b"", True
        file = _unpacked(path, raw)
        while block := file.read(BLOCK):
            if first:
                block = block.removeprefix(codecs.BOM_UTF8)
                if block.startswith(UTF_16):
                    encoding, block = "utf-16", block + file.read()
            if encoding != "utf-8":
                block = block.decode(encoding).encode()
            if first and b"\n" not in block and b"\r" in block:
                block = (block + file.read()).replace(b"\r", b"\n")
            first = False
            head, newline, tail = block.rpartition(b"\n")
            if newline:
                yield rest + head + newline
                rest = tail
            else:
                rest += block
            progress(min(raw.tell(), size), size, f"reading {path.name}")
        if rest:
            yield rest + b"\n"


def _unpacked(path: Path, raw: IO[bytes]) -> IO[bytes]:
    start = raw.read(6)
    raw.seek(0)
    other = next((what for magic, what in OTHER.items() if start.startswith(magic)), None)
    if other is not None:
        raise DataError(f"expected text; got {path}, which is {other}")
    if start.startswith(ZSTANDARD):
        # Python has no Zstandard before 3.14; polars unpacks it, here as one column of lines.
        lines = pl.read_csv(path, has_header=False, separator="\0", quote_char=None, infer_schema=False)
        return io.BytesIO("".join(f"{line or ''}\n" for line in lines.to_series()).encode())
    return next((unpack(raw) for magic, unpack in UNPACK.items() if start.startswith(magic)), raw)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"expected text in {path}; got bytes that are none ({error}); save it as UTF-8") from error
    except (EOFError, OSError, zlib.error, lzma.LZMAError, pl.exceptions.PolarsError) as error:
        # The operating system has a text for its errors; what unpacks a file has a number at most.
        reason = error.strerror if isinstance(error, OSError) else None
        if reason is None:
            raise DataError(f"expected a whole file; got {path}, which does not unpack; fetch it again") from error
        raise DataError(f"expected a readable file; got {path}: {reason}; check the path") from error
