"""Runs the command line inside this process, as its entry point does."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from deployrec.__main__ import main
from deployrec.data import Dataset
from deployrec.training.runs import DataSource
from deployrec.training.train import start
from tests.support import random_model


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def deployrec(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """`deployrec("verify", "bundles/x")` -> exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["deployrec", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def finished_run(sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of RecBLR on the sample, with random weights."""
    root = tmp_path_factory.mktemp("runs")
    made, _ = start("recblr", DataSource("sample"), settings=["dim=16"], root=root, dataset=sample)
    return made.finish(random_model("recblr", sample), {}, {}).path
