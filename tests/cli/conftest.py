"""Runs the command line inside this process, as its entry point does."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from deployrec.__main__ import main


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
