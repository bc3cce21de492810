"""Ctrl-C at any moment says in one line what is left; a reader that stops reading changes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended

SLOW_PACKAGE = 'import sys, time\nprint("importing", flush=True)\ntime.sleep(60)\n'


def interrupt(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


def stopped(ended: Ended, left: str) -> None:
    assert ended.code == 130, ended
    assert ended.err == f"deployrec: interrupted; {left}\n"


@pytest.mark.parametrize("package", ["typer", "torch", "lightning"])
def test_while_packages_are_imported(package: str, tmp_path: Path) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(SLOW_PACKAGE)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "deployrec", "train", "--out", str(tmp_path / "runs")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert any("importing" in line for line in iter(process.stdout.readline, ""))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "deployrec: interrupted; nothing was written\n")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("place", "arguments", "left"),
    [
        ("deployrec.training.runs.load_dataset", ["train"], "nothing was written"),
        ("deployrec.training.train._fit", ["train"], "no run is left: it had no checkpoint yet"),
        ("deployrec.training.train._fit", ["export", "--model", "recblr"], "no run is left: it had no checkpoint yet"),
        ("deployrec.evaluation.BundleScorer", ["evaluate", "BUNDLE"], "nothing was written"),
        ("deployrec.benchmark.run.contenders_of", ["bench", "BUNDLE", "--out", "x.json"], "no report was written"),
        ("deployrec.export.engine.profile", ["build", "engine", "BUNDLE"], "BUNDLE is as it was"),
        ("deployrec.cli.demo.subprocess.call", ["demo", "BUNDLE"], "the demo has ended, BUNDLE is as it was"),
        ("deployrec.cli.verify.verify_bundle", ["verify", "BUNDLE"], "nothing was written"),
    ],
    ids=["data", "train", "export's training", "evaluate", "bench", "build", "demo", "verify"],
)
def test_while_a_verb_works(
    place: str,
    arguments: list[str],
    left: str,
    deployrec: Callable[..., Ended],
    bundle_of: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = str(bundle_of("recblr"))
    monkeypatch.chdir(tmp_path)
    deployrec("models", "recblr")  # imports what the place to patch needs
    monkeypatch.setattr(place, interrupt)
    stopped(deployrec(*(word.replace("BUNDLE", bundle) for word in arguments)), left.replace("BUNDLE", bundle))
    assert list(tmp_path.iterdir()) == []


def test_while_a_bundle_is_written(
    deployrec: Callable[..., Ended], finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = (
        *(f"export.bundle.{step}" for step in ("write_graphs", "compare_torch", "compare_graphs")),
        "bundle.writing._move",
    )
    for place in steps:
        with monkeypatch.context() as patch:
            patch.setattr(f"deployrec.{place}", interrupt)
            stopped(deployrec("export", "--run", finished_run), "nothing was written to bundles/recblr")
        assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.parametrize("words", ["--help", "recommend BUNDLE", "info BUNDLE", "info BUNDLE --json", "verify BUNDLE",
                                   "train --help", "data info sample", "models recblr"])  # fmt: skip
def test_a_reader_that_stops_reading(words: str, bundle_of: Callable[[str], Path]) -> None:
    command = [sys.executable, "-m", "deployrec", *words.replace("BUNDLE", str(bundle_of("recblr"))).split()]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_one_line(tmp_path: Path) -> None:
    for arguments in (["--version"], ["data", "info", "sample"]):
        with open("/dev/full", "w") as full:
            command = [sys.executable, "-m", "deployrec", *arguments]
            ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        assert ended.returncode == 2
        assert ended.stderr == (
            "deployrec: expected to use <stdout>; got 'No space left on device'; check the path and its permissions\n"
        )


def test_an_interruption_that_nobody_explains_has_written_nothing(
    deployrec: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployrec.cli.usage.refuse_repeats", interrupt)
    stopped(deployrec("models"), "nothing was written")
