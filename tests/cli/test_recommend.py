"""`deployrec recommend`: any item id has a way in, and a small catalogue answers with what it has."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployrec.bundle.bundle import seal
from deployrec.cli.main import app
from deployrec.errors import ConfigError, DataError

ODD = ["a,b", " spaced out ", "-5", 'say "x"', "it's $HOME", "é", "--k"]


@pytest.fixture
def odd_bundle(bundle_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A bundle whose first items have ids that a shell or a list of commas would break."""
    folder = shutil.copytree(bundle_of("glintru"), tmp_path / "bundle")
    with open(folder / "items.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    for row, item_id in zip(rows[1:], ODD, strict=False):
        row[0], row[1] = item_id, f"Title of <{item_id}>"
    with open(folder / "items.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    seal(folder, json.loads((folder / "manifest.json").read_text()))
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_any_id_is_an_item_or_a_line_of_a_file(odd_bundle: Path, tmp_path: Path) -> None:
    for items in (ODD[:3], ODD[3:]):
        by_item = run("recommend", odd_bundle, *(f"--item={item}" for item in items))
        (tmp_path / "seen.txt").write_bytes("\ufeff".encode() + "\r\n\n".join(items).encode() + b"\n")
        by_file = run("recommend", odd_bundle, "--history-file", tmp_path / "seen.txt")
        assert (by_item.exit_code, by_item.stderr) == (0, "")
        assert by_item.output.startswith("after " + ", ".join(f"Title of <{item}>" for item in items))
        assert by_file.output == by_item.output
    assert "1 of 1 items are not in the catalogue" in run("recommend", odd_bundle, "--item", "spaced out").stderr


def test_a_history_comes_one_way_only(odd_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "seen.txt").write_text("é\n")
    for options in (["--item=é", "--history", "é"], ["--item=é", "--history-file", tmp_path / "seen.txt"]):
        assert isinstance(run("recommend", odd_bundle, *options).exception, ConfigError)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", "folder"])
def test_a_file_that_cannot_be_read_is_one_line(odd_bundle: Path, tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "seen.txt"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    error = run("recommend", odd_bundle, "--history-file", path).exception
    assert isinstance(error, DataError)
    assert str(path) in str(error)
    assert "\n" not in str(error)


def test_a_small_catalogue_answers_with_what_is_left(
    small_bundle: Path,
) -> None:
    everything = run("recommend", small_bundle)
    assert len(everything.output.splitlines()) == 2 + 6
    for options in ([], ["--k", 10], ["--k", 500]):
        left = run("recommend", small_bundle, "--history", "i1,i2", *options)
        assert left.exit_code == 0, left.exception
        assert len(left.output.splitlines()) == 2 + 4
    nothing = run("recommend", small_bundle, "--history", "i1,i2,i3,i4,i5,i6")
    assert nothing.exit_code == 0
    assert nothing.output.splitlines()[1].startswith("nothing is left to recommend")
    again = run("recommend", small_bundle, "--history", "i1,i2,i3,i4,i5,i6", "--include-seen", "--k", 3)
    assert len(again.output.splitlines()) == 2 + 3


def test_ten_items_or_as_many_as_are_asked_for(bundle_of: Callable[[str], Path]) -> None:
    bundle = bundle_of("glintru")
    assert len(run("recommend", bundle).output.splitlines()) == 2 + 10
    assert len(run("recommend", bundle, "--k", 250).output.splitlines()) == 2 + 250
    assert isinstance(run("recommend", bundle, "--k", 0).exception, ConfigError)
    assert isinstance(run("recommend", bundle, "--k", -3).exception, ConfigError)


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from deployrec.benchmark.bundles import random_bundle

    num_items = 6
    folder = tmp_path_factory.mktemp("random") / "bundle"
    random_bundle("gru4rec", num_items, folder)
    items = ["item_id,title,popularity", *(f"i{row},Item {row},{row}" for row in range(1, num_items + 1))]
    (folder / "items.csv").write_text("\n".join(items) + "\n")
    seal(folder, json.loads((folder / "manifest.json").read_text()))
    return folder


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31mFilm\u202e\r\b"


@pytest.mark.parametrize("columns", ["200", "30"])
def test_nothing_in_a_bundle_reaches_the_terminal_but_what_can_be_seen(odd_bundle: Path, columns: str) -> None:
    """Written by somebody else's hand: export itself escapes titles."""
    with open(odd_bundle / "items.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    for number, row in enumerate(rows[1:]):
        row[0], row[1] = f"{number}{HOSTILE}", HOSTILE
    with open(odd_bundle / "items.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    (odd_bundle / f"stray{HOSTILE.replace('/', '')}").write_text("")
    document = json.loads((odd_bundle / "manifest.json").read_text())
    document["data"]["name"] = document["created"] = HOSTILE
    document["versions"] = {HOSTILE: HOSTILE}
    seal(odd_bundle, document)
    (odd_bundle / f"late{HOSTILE.replace('/', '')}").write_text("")
    item = f"0{HOSTILE}"
    for arguments in (
        ("recommend", odd_bundle, f"--item={item}"),
        ("recommend", odd_bundle, f"--item={item}", "--item=unknown\x1b[2J", "--on-unknown-item=error"),
        ("info", odd_bundle),
        ("info", odd_bundle, "--json"),
        ("verify", odd_bundle),
        ("verify", f"{odd_bundle}\x1b[2J"),
    ):
        result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": columns})
        shown = result.output.replace("\n", "")
        assert shown or result.exit_code == 1
        assert "Film" in shown or columns == "30" or result.exit_code == 1
        assert not set(shown) & set("\x1b\x07\x9b\r\b\u202e")
    document = json.loads(run("info", odd_bundle, "--json").output)
    assert document["created"] == HOSTILE


def test_the_one_line_of_an_error_is_fit_to_print(
    odd_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployrec.cli.main import run as run_line

    assert run_line(["verify", f"{odd_bundle}\x1b[2J\nno"]) == 2
    assert "\x1b" not in (shown := capsys.readouterr().err)
    assert shown.count("\n") == 1


def test_filters_are_options(small_bundle: Path) -> None:
    def items(*options: object) -> list[str]:
        found = run("recommend", small_bundle, *options)
        return sorted(line.split()[1] for line in found.output.splitlines()[2:])

    assert items("--only", "i1", "--only", "i2", "--history", "i1") == ["i2"]
    assert items("--exclude", "i1", "--exclude", "i2", "--k", 99) == ["i3", "i4", "i5", "i6"]
    assert items("--where", "popularity >= 5 or title == 'Item 1'", "--history", "i6", "--k", 99) == ["i1", "i5"]
    nothing = run("recommend", small_bundle, "--where", "popularity > 6")
    assert nothing.exit_code == 0
    assert "--where, --only and --exclude allow" in nothing.output
    assert isinstance(run("recommend", small_bundle, "--where", "popularity >").exception, ConfigError)
