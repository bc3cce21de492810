"""JSON lines of a file or a pipe as batches: all that has come, at once."""

from __future__ import annotations

import os
from collections.abc import Iterator

from deployrec.consumers.consume import Batch, Message
from deployrec.errors import DataError

CHUNK = 2**20
MOST_LINE = 2**20
"""Bytes of a line; a longer one is no event."""


def lines(descriptor: int, source: str | None = None, most: int = 256) -> Iterator[Batch]:
    """Batches of up to `most` lines of an open file descriptor; a line that has come never waits for the next ones.

    source: names this very input, and makes a line's number its sequence, from 0: read again from its beginning, lines
    that were applied are duplicates. Empty lines are passed over, and counted.
    """
    number, rest, more = 0, b"", True
    while more:
        chunk = os.read(descriptor, CHUNK)
        more = bool(chunk)
        *whole, rest = (rest + chunk).split(b"\n")
        if not more and rest:
            whole.append(rest)
        if len(rest) > MOST_LINE:
            raise DataError(f"expected lines of at most {MOST_LINE:,} bytes; got a longer one at {number:,}; mend it")
        messages = [
            Message(line, source, None if source is None else place)
            for place, line in enumerate(whole, number)
            if line.strip()
        ]
        number += len(whole)
        for start in range(0, len(messages), most):
            yield Batch(messages[start : start + most], _nothing)


def _nothing() -> None:
    """A pipe need not be told."""
