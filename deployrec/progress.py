"""What long work shows: a live line on a terminal or in a notebook, elsewhere a plain line now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Task
    from rich.text import Text

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what comes next); a total of 0 is not known."""

QUIET_SECONDS = 1.5
"""Work that is over sooner shows nothing where lines stay."""
EVERY_SECONDS = 20.0
"""Between two lines of longer work."""


def silent(done: int, total: int, what: str) -> None:
    """A Progress that shows nothing."""


@contextmanager
def working(console: Console, what: str) -> Iterator[Progress]:
    """Shows that `what` is being done until the block ends; the Progress it gives says how far it has come.

    A live line with a bar, which is gone afterwards, where `console` is a terminal or a notebook. Elsewhere a line
    after QUIET_SECONDS and every EVERY_SECONDS, also while the work calls nothing.

    with working(console, "writing the graphs") as progress:
        progress(1, 3, "writing encode.onnx")
    """
    if console.quiet:
        yield silent
    elif is_live(console):
        with _live_line(console, what) as progress:
            yield progress
    else:
        lines = _Lines(console, what)
        lines.start()
        try:
            yield lines.progress
        finally:
            lines.stop()


def is_live(console: Console) -> bool:
    """Whether `console` can redraw a line: a terminal, or a notebook with ipywidgets."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def _live_line(console: Console, what: str) -> Iterator[Progress]:
    from rich import progress as rich
    from rich.text import Text

    class Left(rich.ProgressColumn):
        """The time left, once it can be told."""

        def render(self, task: Task) -> Text:
            left = task.time_remaining
            return Text("" if left is None or task.finished else f"left {clock(left)}")

    spinner, text = rich.SpinnerColumn(), rich.TextColumn("{task.description}", markup=False)
    columns = (spinner, text, rich.BarColumn(), rich.TimeElapsedColumn(), Left())
    with rich.Progress(*columns, console=console, transient=True, speed_estimate_period=120) as bar:
        task = bar.add_task(what, total=None)

        def update(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total or None, description=what)

        yield update


class _Lines:
    """Prints where the work stands, from a thread of its own."""

    def __init__(self, console: Console, what: str) -> None:
        self._console = console
        self._what, self._done, self._total, self._begun = what, 0, 0, 0
        self._started: float = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def progress(self, done: int, total: int, what: str) -> None:
        if total != self._total:
            self._begun, self._started = done, time.monotonic()
        self._done, self._total, self._what = done, total, what

    def _run(self) -> None:
        wait = QUIET_SECONDS
        while not self._ended.wait(wait):
            wait = EVERY_SECONDS
            with suppress(OSError):  # a full disk: the work's own next line says so
                self._console.print(self._line(), markup=False, highlight=False, soft_wrap=True)

    def _line(self) -> str:
        elapsed = time.monotonic() - self._started
        if not self._total:
            return f"{self._what} ... {clock(elapsed)}"
        here = self._done - self._begun
        left = f", left {clock(elapsed / here * (self._total - self._done))}" if here > 0 else ""
        return f"{self._what}  {self._done:,} of {self._total:,}, {clock(elapsed)}{left}"
