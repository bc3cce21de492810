"""`deployrec recommend` of a time-aware bundle: when the last item was, and the moment that is asked about."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from deployrec.bundle import Bundle
from deployrec.cli.main import app
from deployrec.errors import ConfigError, DataError
from deployrec.runtime import Recommender
from tests.runtime.conftest import twin_bundle

__all__ = ["twin_bundle"]
AT = 1_769_860_800
"""2026-01-31T12:00:00Z"""


def test_time_and_now_change_the_scores(twin_bundle: Callable[..., Bundle]) -> None:
    path = twin_bundle(unit="s").path
    library = Recommender.load(path)
    runner = CliRunner()
    for time, now, elapsed in ((str(AT), "2026-01-31T12:01:00Z", 60), ("2026-01-31T12:00", str(AT + 3600), 3600)):
        found = runner.invoke(app, ["recommend", str(path), "--history", "i3,i7", "--time", time, "--now", now])
        assert found.exit_code == 0, found.output
        for entry in library.recommend_after(["i3", "i7"], times=[None, AT], now=AT + elapsed):
            assert f"{entry.score:.3f}" in found.output
    found = runner.invoke(app, ["recommend", str(path), "--item", "i3"])
    assert "note: scored as if nobody knew how long ago the last item was; --time tells" in found.output
    assert f"{library.recommend_after(['i3'])[0].score:.3f}" in found.output


def test_info_says_how_time_is_counted(twin_bundle: Callable[..., Bundle]) -> None:
    found = CliRunner().invoke(app, ["info", str(twin_bundle(unit="ms").path)])
    said = "milliseconds since 1970, exact to a second; 11.6 days between two events at most in training"
    assert said in " ".join(found.output.split())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--item", "i3", "--now", "yesterday"], DataError, "expected a time as"),
        (["--item", "i3", "--time", str(AT * 1000)], DataError, "looks like milliseconds"),
        (["--time", str(AT)], ConfigError, "expected a history beside --time"),
    ],
)
def test_what_is_no_moment_is_one_line(
    twin_bundle: Callable[..., Bundle], options: list[str], error: type[Exception], message: str
) -> None:
    found = CliRunner().invoke(app, ["recommend", str(twin_bundle(unit="s").path), *options])
    assert isinstance(found.exception, error)
    assert message in str(found.exception)
    assert "\n" not in str(found.exception)
