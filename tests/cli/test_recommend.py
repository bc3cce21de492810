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


def test_the_default_is_no_more_than_the_bundle_gives(bundle_of: Callable[[str], Path], narrow_bundle: Path) -> None:
    assert len(run("recommend", bundle_of("glintru")).output.splitlines()) == 2 + 10
    assert len(run("recommend", narrow_bundle, "--history", "i1").output.splitlines()) == 2 + 4
    assert isinstance(run("recommend", narrow_bundle, "--history", "i1", "--k", 5).exception, ConfigError)
    assert isinstance(run("recommend", narrow_bundle, "--k", 0).exception, ConfigError)
    assert isinstance(run("recommend", narrow_bundle, "--k", -3).exception, ConfigError)


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _random(tmp_path_factory, 6, 100)


@pytest.fixture(scope="module")
def narrow_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _random(tmp_path_factory, 30, 4)


def _random(tmp_path_factory: pytest.TempPathFactory, num_items: int, top_k: int) -> Path:
    from deployrec.benchmark.bundles import random_bundle

    folder = tmp_path_factory.mktemp("random") / "bundle"
    random_bundle("gru4rec", num_items, folder, top_k=top_k)
    items = ["item_id,title,popularity", *(f"i{row},Item {row},{row}" for row in range(1, num_items + 1))]
    (folder / "items.csv").write_text("\n".join(items) + "\n")
    seal(folder, json.loads((folder / "manifest.json").read_text()))
    return folder
