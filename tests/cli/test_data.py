"""`deployrec data` prints what a user needs next, and passes errors on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployrec.cli.data import app
from deployrec.data.download import SOURCES
from deployrec.errors import DataError


def test_info_prints_the_size(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("who,what,at\na,x,1\na,y,2\nb,x,3\nb,z,1\nb,x,9\n")
    result = CliRunner().invoke(app, ["info", str(path), "--user", "who", "--item", "what", "--time", "at"])
    assert result.exit_code == 0, result.exception
    for text in ("clicks", "users", "2", "items", "3", "events", "5", "2 to 3", "x (3 events)"):
        assert text in result.output
    filtered = CliRunner().invoke(
        app, ["info", str(path), "--user", "who", "--item", "what", "--time", "", "--min-item", "4"]
    )
    assert isinstance(filtered.exception, DataError)


def test_info_says_what_reading_had_to_say(tmp_path: Path) -> None:
    path = tmp_path / "LOG.CSV"
    path.write_text("USER_ID;item_id;timestamp\na;x;13/1/2024\na;y;1/2/2024\nb;x;\nb;x;2/2/2024\nb;x;2/2/2024\n")
    (tmp_path / "items.csv").write_text("item_id,genre\nx,War\n")
    assert isinstance(CliRunner().invoke(app, ["info", str(path)]).exception, DataError)
    options = ["--on-bad-row", "skip", "--items", str(tmp_path / "items.csv"), "--time-format", "day-first"]
    result = CliRunner().invoke(app, ["info", str(path), *options])
    assert result.exit_code == 0, result.exception
    notes = [line for line in result.output.splitlines() if line.startswith("note: ")]
    assert f"skipped 1 bad row: {path}:4 (expected a date with the day first in column 'timestamp')" in notes[0]
    assert "1 event repeats another exactly" in notes[1]
    assert "1 of 2 items of the log are not in" in notes[2]
    assert "genre" in result.output


TIMED = [
    (
        ["1700000000", "1700000060", "1700000000", "1700000000"],
        "2023-11-14 22:13:20 to 2023-11-14 22:14:20; seconds, to the second",
    ),
    (["1700000000500", "1700000060500", "1700000000500", "1700000000500"], "milliseconds, to the millisecond"),
    (["2024-01-31", "2024-02-01", "2024-01-31", "2024-01-31"], "microseconds, to the day"),
    (["7", "8", "7", "7"], "numbers of no known unit, an order and no more"),
]


@pytest.mark.parametrize(("times", "said"), TIMED)
def test_info_says_what_the_times_are(tmp_path: Path, times: list[str], said: str) -> None:
    path = tmp_path / "log.csv"
    rows = zip("abaa", "xxyx", [times[1], *times[:1], *times[2:]], strict=True)
    path.write_text("user_id,item_id,timestamp\n" + "".join(f"{user},{item},{time}\n" for user, item, time in rows))
    result = CliRunner().invoke(app, ["info", str(path)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.exception
    printed = " ".join(re.sub(r"[│┌└─┐┘]", " ", result.output).split())  # a narrow terminal breaks long values
    assert said in printed
    assert "50.0% tied with the user's previous event; 2 unsorted" in printed
    assert "25.0% of the events" in printed
    assert "training, evaluation and serving keep seen items as candidates" in result.output


def test_reading_a_large_log_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployrec.progress.QUIET_SECONDS", 0.0)
    monkeypatch.setattr("deployrec.progress.EVERY_SECONDS", 0.0)
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp\n" + "".join(f"{at % 97},{at % 89},{at}\n" for at in range(100_000)))
    result = CliRunner().invoke(app, ["info", str(path)])
    assert f"reading {path}" in result.output
    assert f"reading {path.name}  {path.stat().st_size:,} of {path.stat().st_size:,}" in result.output


def test_get_names_the_folder_and_the_next_command(tmp_path: Path) -> None:
    (tmp_path / "ml-1m").mkdir()
    (tmp_path / "ml-1m" / SOURCES["ml-1m"].log).write_text("")
    result = CliRunner().invoke(app, ["get", "ml-1m", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.exception
    assert f"{tmp_path / 'ml-1m'}: already there" in result.output
    assert f"next: deployrec train --data {tmp_path / 'ml-1m'}" in result.output


@pytest.mark.parametrize("arguments", [["get", "netflix"], ["info", "nowhere.csv"]])
def test_errors_reach_the_root_as_one_line(arguments: list[str]) -> None:
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, DataError)
    assert "\n" not in str(error)
