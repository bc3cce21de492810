"""`deployrec export`: what it prints next works for any item id, and a run that does not fit is refused."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from deployrec.cli.export import history_option
from tests.cli.conftest import Ended


@pytest.mark.parametrize(
    "items", [["1062", "1186"], ["a,b", "c"], ["two words", "it's"], ["-5", "$HOME"], ['"x"', "y;z"], ["é", "b.c/d:e"]]
)
def test_the_suggested_history_survives_the_shell(items: list[str]) -> None:
    words = shlex.split(history_option(items))
    if words[0] == "--history":
        assert words[1].split(",") == items
    else:
        assert [word.removeprefix("--item=") for word in words] == items


def test_a_broken_run_is_skipped_and_the_next_one_exported(
    deployrec: Callable[..., Ended], finished_run: Path, tmp_path: Path
) -> None:
    runs = finished_run.parent.parent
    (runs / "recblr" / "99991231-000000").mkdir()
    (runs / "recblr" / "99991231-000000" / "run.json").write_text("{")
    out = tmp_path / "my bundle"
    ended = deployrec("export", "--model", "recblr", "--runs", runs, "--out", out)
    assert ended.code == 0, ended
    assert f"note: skipped {runs}/recblr/99991231-000000: expected a run folder" in ended.out
    assert f"Exporting {finished_run}" in ended.out
    assert f"deployrec verify '{out}'" in ended.out
    assert ended.err == ""
