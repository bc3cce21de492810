"""What every verb prints through: results on stdout, errors on stderr, and what long work shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, TextIO

from rich.console import Console

from deployrec.progress import Progress, working

out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)
say = partial(out.print, soft_wrap=True, markup=False)
"""One line of plain text, never wrapped."""

TRAINING = "loading torch and Lightning"


def doing(what: str) -> AbstractContextManager[Progress]:
    """Shows on stdout that a verb is busy with `what`."""
    return working(out, what)


@contextmanager
def leaving(what: str) -> Iterator[None]:
    """Says `what` is left should Ctrl-C end the block, unless something inside has said it."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(str(interrupt) or what) from None


@contextmanager
def open_ended_pipes() -> Iterator[None]:
    """Inside, a reader that stops reading (`| head -1`) ends neither the work nor its exit code."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Patient(sys.stdout), _Patient(sys.stderr)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


class _Patient:
    """A text stream whose writes go nowhere once nobody reads them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._give_up()

    def _give_up(self) -> None:
        # What is buffered is written once more when the interpreter ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
