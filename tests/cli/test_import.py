"""`deployrec import`: what it prints next works, and what is unfit is one line and leaves nothing."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Ended
from tests.importing.conftest import FOLDER, LOG
from tests.importing.step_models import Dress, write_items

Run = Callable[..., Ended]


def test_a_checkpoint_becomes_a_run_that_is_exported(deployrec: Run, tmp_path: Path) -> None:
    ended = deployrec("import", "recbole", FOLDER / "GRU4Rec.pth", "--data", LOG, "--out", tmp_path / "runs")
    assert ended.code == 0, ended
    assert "gru4rec on log, 222 users, 153 items, 3,481 events, as RecBole kept them" in ended.out
    assert "It answers from a user's newest 20 events, as RecBole's does." in ended.out
    _, verb, option, run = shlex.split(ended.out.splitlines()[-1].removeprefix("next: "))
    ended = deployrec(verb, option, run, "--out", tmp_path / "bundle")
    assert ended.code == 0, ended
    ended = deployrec("recommend", tmp_path / "bundle", "--history", "i1,i2")
    assert ended.code == 0, ended
    assert "after Film 1, Film 2" in ended.out


def test_a_checkpoint_that_is_none_is_one_line(deployrec: Run, tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    ended = deployrec("import", "recbole", tmp_path / "other.pth", "--data", LOG, "--out", tmp_path / "runs")
    assert ended.code == 2
    assert ended.err.startswith("deployrec: expected a checkpoint that RecBole 1.2's trainer saved; got")
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_step_becomes_a_bundle(deployrec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    step, items = Dress().save(tmp_path / "mine.onnx"), write_items(tmp_path / "items.csv")
    ended = deployrec("import", "onnx", step, "--state", "past.*=present.*", "--items", items)
    assert ended.code == 0, ended
    assert "note: without --data the certificate's histories are random" in ended.out
    assert "deployrec verify bundles/mine" in ended.out
    for verb in ("verify", "info"):
        assert deployrec(verb, "bundles/mine").code == 0
    again = deployrec("import", "onnx", step, "--state", "past.*=present.*", "--items", items)
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "pass --force to replace it" in again.err


def test_a_graph_that_is_unfit_is_one_line(deployrec: Run, tmp_path: Path) -> None:
    step, items = Dress().save(tmp_path / "mine.onnx"), write_items(tmp_path / "items.csv")
    ended = deployrec("import", "onnx", step, "--state", "h=h2", "--items", items, "--out", tmp_path / "bundle")
    assert ended.code == 2
    assert ended.err.startswith("deployrec: expected an input like 'h' in")
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "bundle").exists()
