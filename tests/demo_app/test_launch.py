"""`deployrec demo`: what it hands to Streamlit, and what stops it before."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit import config
from typer.testing import CliRunner, Result

import deployrec.cli.demo as verb
from deployrec.bundle.bundle import Bundle
from deployrec.cli.main import app
from deployrec.errors import BundleError, ConfigError
from deployrec_demo.__main__ import OPTIONS, _parse, flags
from deployrec_demo.resources import SAMPLE


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that the verb would have run."""
    commands: list[list[str]] = []

    def call(command: list[str]) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    return commands


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["demo", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_nothing_is_sent_anywhere_and_every_option_exists() -> None:
    assert OPTIONS["browser.gatherUsageStats"] == "false"
    known = set(config.get_config_options())
    assert set(OPTIONS) <= known
    given = flags(_parse(["b", "--port", "8600", "--headless"]))
    assert "--server.port=8600" in given
    assert "--server.headless=true" in given
    assert "--server.address=localhost" in given
    assert not any("server.port" in flag for flag in flags(_parse(["b"])))


def test_a_bundle_is_opened_as_asked(started: list[list[str]], bundle_of: Callable[[str], Path]) -> None:
    assert run(str(bundle_of("recblr")), "--headless").exit_code == 0
    (command,) = started
    assert command[:4] == [sys.executable, "-m", "deployrec_demo", str(bundle_of("recblr"))]
    assert command[-1] == "--headless"


def test_without_a_bundle_the_one_that_ships_is_shown(started: list[list[str]]) -> None:
    run()
    ((*_, bundle, _, _),) = [command[:6] for command in started]
    assert Path(bundle) == SAMPLE
    assert sum(file.stat().st_size for file in SAMPLE.iterdir()) < 3 * 2**20
    shipped = Bundle.open(SAMPLE)
    assert len(shipped.cases().names) > 2
    rows = shipped.manifest.training["metrics"]["test"]["rows"]
    assert rows["streamed"]["masked"]["hr@10"] > rows["5-lag Markov"]["masked"]["hr@10"]


def test_a_model_is_trained_only_when_asked_and_once(
    started: list[list[str]], bundle_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = []

    def export(model: str, out: Path) -> None:
        made.append(model)
        Path(out).parent.mkdir()
        Path(out).symlink_to(bundle_of("recblr"))

    monkeypatch.setattr(verb, "write", export)
    monkeypatch.chdir(tmp_path)
    run("--train", "recblr")
    run("--train", "recblr")
    assert made == ["recblr"]
    assert len(started) == 2
    with pytest.raises(ConfigError, match="leave one of them out"):
        run("bundles/recblr", "--train", "recblr")
    with pytest.raises(ConfigError, match="expected one of the models"):
        run("--train", "recbrl")


def test_a_second_bundle_is_checked_and_handed_on(
    started: list[list[str]], bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    run("--beside", str(bundle_of("recblr")))
    (command,) = started
    assert command[command.index("--beside") + 1] == str(bundle_of("recblr"))
    with pytest.raises(BundleError, match="no such folder"):
        run("--beside", str(tmp_path / "nowhere"))


@pytest.mark.parametrize("missing", verb.NEEDED)
def test_a_missing_extra_is_one_line(started: list[list[str]], monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(verb, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(
        ConfigError, match=rf'package {missing}; got none installed; run pip install "deployrec\[demo\]"'
    ):
        run()
    assert not started


def test_a_taken_port_and_no_bundle_are_one_line(
    started: list[list[str]], bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    with socket.create_server(("localhost", 0)) as taken, pytest.raises(ConfigError, match="pass another --port"):
        run(str(bundle_of("recblr")), "--port", str(taken.getsockname()[1]))
    with pytest.raises(BundleError, match="no such folder"):
        run(str(tmp_path / "nowhere"))
    edited = shutil.copytree(bundle_of("recblr"), tmp_path / "edited")
    (edited / "items.csv").write_text((edited / "items.csv").read_text().replace("a", "b", 1))
    with pytest.raises(BundleError, match="got edited bytes"):
        run(str(edited))
    with pytest.raises(ConfigError, match="no port number"):
        run(str(bundle_of("recblr")), "--port", "99999")
    assert not started
