"""What every verb prints through: results on stdout, errors on stderr, and what long work shows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from deployrec.progress import Progress, working
from deployrec.text import printable


class SafeConsole(Console):
    """Prints control characters of titles, ids, paths and messages as escapes; colours and cursor moves are its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text, lines=True), segment.style)


out = SafeConsole(highlight=False)
err = SafeConsole(stderr=True, highlight=False, soft_wrap=True)
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
    patient = _Patient(sys.stdout), _Patient(sys.stderr)
    sys.stdout, sys.stderr = patient
    try:
        yield
    finally:
        for stream in patient:
            stream.end()
        sys.stdout, sys.stderr = before


class _Patient:
    """A text stream whose writes go nowhere once nobody reads them, and whose errors name it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._patience():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._patience():
            self._stream.flush()

    @contextmanager
    def _patience(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self._give_up()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._stream.name) from error

    def end(self) -> None:
        """Leaves nothing that the interpreter would try to write again."""
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        # What is buffered is written once more when the interpreter ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
