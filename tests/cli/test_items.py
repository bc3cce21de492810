"""`deployrec items`: what it prints, and what it refuses in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deployrec.bundle.manifest import MANIFEST


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["add", "BUNDLE", "nowhere.csv"], "nowhere.csv"),
        (["add", "nowhere", "NEW"], "nowhere"),
        (["retire", "BUNDLE"], "--item or --items-file"),
        (["retire", "BUNDLE", "--item", "a", "--items-file", "NEW"], "--item or --items-file"),
        (["retire", "BUNDLE", "--item", "no such item"], "no such item"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    deployrec: Callable[..., tuple[int, str, str]],
    bundle_of: Callable[[str], Path],
    tmp_path: Path,
    arguments: list[str],
    error: str,
) -> None:
    bundle = bundle_of("recblr")
    (tmp_path / "new.csv").write_text("item_id,neighbours\nx,nobody\n")
    before = (bundle / MANIFEST).read_bytes()
    named = {"BUNDLE": bundle, "NEW": tmp_path / "new.csv"}
    code, _, shown = deployrec("items", *(named.get(argument, argument) for argument in arguments))
    assert code == 2
    assert error in shown.splitlines()[-1]
    assert (bundle / MANIFEST).read_bytes() == before


@pytest.mark.slow  # two certificates
def test_items_come_and_go(
    deployrec: Callable[..., tuple[int, str, str]], bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    bundle = shutil.copytree(bundle_of("recblr"), tmp_path / "bundle")
    (tmp_path / "new.csv").write_text("item_id,title,genre,release_year\nx,A New Film,Crime,2020\n")
    code, out, _ = deployrec("items", "add", bundle, tmp_path / "new.csv")
    assert code == 0
    assert "1 items added: made of columns 1" in out
    assert "held-out items" in out
    assert "Parity holds" in out
    code, out, _ = deployrec("recommend", bundle, "--only", "x", "--item", "1062")
    assert code == 0
    assert "A New Film" in out
    (tmp_path / "gone.txt").write_text("x\n")
    assert deployrec("items", "retire", bundle, "--items-file", tmp_path / "gone.txt")[0] == 0
    assert "nothing is left" in deployrec("recommend", bundle, "--only", "x", "--item", "1062")[1]
