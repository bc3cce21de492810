"""`deployrec data` prints what a user needs next, and passes errors on."""

from __future__ import annotations

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
