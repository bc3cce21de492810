"""Long work is never silent: a live line on a terminal, lines in a pipe, nothing where nothing is wanted."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from deployrec import progress
from deployrec.progress import clock, is_live, silent, working


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.05)
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.1)


def test_a_pipe_gets_a_line_now_and_then_and_none_for_quick_work() -> None:
    console = Console(file=(written := io.StringIO()))
    with working(console, "quick work"):
        pass
    assert written.getvalue() == ""
    with working(console, "reading [0]") as tell:
        time.sleep(0.1)
        tell(2, 8, "writing [1]")
        time.sleep(0.1)
        tell(4, 8, "writing [2]")
        time.sleep(0.2)
    lines = written.getvalue().splitlines()
    assert lines[0] == "reading [0] ... 0:00"
    assert 3 <= len(lines) <= 5
    assert lines[-1].startswith("writing [2]  4 of 8, 0:00, left 0:0")
    assert "-:--" not in "".join(lines)


def test_a_terminal_gets_one_line_that_goes_away() -> None:
    console = Console(file=(written := io.StringIO()), force_terminal=True, width=100)
    with working(console, "work") as tell:
        for done in range(3):
            tell(done, 3, f"step {done} of [x]")
            time.sleep(0.15)
    shown = written.getvalue()
    assert "step 2 of [x]" in shown
    assert "left" in shown
    assert "-:--:--" not in shown
    assert shown.rstrip().endswith("\x1b[2K") or "\x1b[2K" in shown.rsplit("step", 1)[1]


def test_a_notebook_is_live_where_it_can_redraw(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Console(file=io.StringIO(), force_jupyter=True)
    for widgets, live in ((object(), True), (None, False)):
        monkeypatch.setattr(progress, "find_spec", lambda name, widgets=widgets: widgets)
        assert is_live(notebook) == live
    assert not is_live(Console(file=io.StringIO()))


def test_a_quiet_console_shows_nothing_and_errors_pass_through() -> None:
    console = Console(file=io.StringIO(), quiet=True)
    with working(console, "work") as tell:
        assert tell is silent
    with pytest.raises(ValueError, match="broken"), working(Console(file=io.StringIO()), "work"):
        raise ValueError("broken")


def test_the_clock() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 3599, 3600, 36061)] == [
        "0:00",
        "1:00",
        "59:59",
        "1:00:00",
        "10:01:01",
    ]
