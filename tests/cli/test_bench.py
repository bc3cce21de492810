"""`deployrec bench`: what it prints, writes and refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployrec.benchmark import BenchmarkConfig, BenchmarkReport
from deployrec.cli.main import app
from deployrec.errors import BundleError, ConfigError

TINY = BenchmarkConfig(
    history=(2, 9),
    batch=(),
    catalogue=(),
    threads=(),
    base_history=5,
    backends=("onnxruntime",),
    seconds=0.01,
    rounds=2,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BenchmarkConfig, "quick", classmethod(lambda cls: TINY))


def test_prints_tables_and_writes_the_report(bundle_of: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    result = CliRunner().invoke(app, ["bench", str(bundle_of("recblr")), "--quick", "--seed", "7", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "median ms by history length" in result.output
    assert "recblr: a step takes" in result.output
    report = BenchmarkReport.load(out)
    assert report.config.seed == 7
    assert report.data["name"] == "sample"
    assert [c.history for c in report.curve("history", "recblr", "step", "onnxruntime")] == [2, 5, 9]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["missing"], BundleError, "expected a bundle folder at missing"),
        (["BUNDLE", "--backend", "abacus"], ConfigError, "got 'abacus'"),
        (["BUNDLE", "--rival", "abacus"], ConfigError, "got 'abacus'"),
    ],
)
def test_bad_requests_are_refused(
    bundle_of: Callable[[str], Path], arguments: list[str], error: type[Exception], message: str
) -> None:
    arguments = [str(bundle_of("recblr")) if a == "BUNDLE" else a for a in arguments]
    result = CliRunner().invoke(app, ["bench", "--quick", *arguments])
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
