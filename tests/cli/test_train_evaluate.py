"""The verbs `train` and `evaluate`, for runs and for bundles: what they print, and what they refuse."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from deployrec.cli.main import run as run_command
from deployrec.data import Dataset
from deployrec.data.sample_ceiling import sample_ceiling
from deployrec.training.runs import DataSource
from deployrec.training.train import start
from tests.support import interrupted_at, random_model

QUICK = ["dim=16", "tokens=400", "epochs=2", "warmup_steps=5", "learning_rate=0.01", "window=12"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A CSV with columns of other names: 40 users who walk round a ring of 15 items."""
    lines = ["who,what,when"]
    for user in range(40):
        lines += [f"u{user},film-{(user + step) % 15},{step}" for step in range(8 + user % 20)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def invoke(*arguments: object, fails: int = 0) -> str:
    """Runs a command line and returns what it prints on stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("COLUMNS", "200")
        code = run_command([str(argument) for argument in arguments])
    printed = out.getvalue() + err.getvalue()
    assert code == fails, printed
    return printed


def train_on(log: Path, runs: Path, *more: object, fails: int = 0) -> str:
    columns = ["--user", "who", "--item", "what", "--time", "when"]
    settings = [part for setting in QUICK for part in ("--set", setting)]
    return invoke("train", "--model", "recblr", "--data", log, *columns, "--out", runs, *settings, *more, fails=fails)


def test_train_then_evaluate(log: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    printed = train_on(log, runs, "--seed", 7)
    (run,) = (runs / "recblr").iterdir()
    assert "40 users, 15 items" in printed
    assert f"next: deployrec export --model recblr --run {run}" in printed
    figures = invoke("evaluate", "--model", "recblr", "--runs", runs)
    assert str(run) in figures
    trained = [line for line in printed.splitlines() if "masked" in line]
    assert [line for line in figures.splitlines() if "masked" in line] == trained
    assert len(trained) == 11
    assert trained[-1].startswith("note: the model ranks below bigram (unmasked NDCG@10 ")
    assert "streamed against windowed for the 28 users beyond 12 events: too few to say" in figures
    moved = log.rename(tmp_path / "moved.csv")
    again = invoke("evaluate", run, "--data", moved, "--split", "validation")
    assert "validation" in again
    moved.write_text(moved.read_text() + "u0,film-3,999\n")
    assert "expected the data of" in invoke("evaluate", run, "--data", moved, fails=2)


def test_evaluate_a_bundle_gives_the_figures_of_its_training(log: Path, tmp_path: Path) -> None:
    printed = train_on(log, tmp_path / "runs")
    bundle = tmp_path / "bundle"
    invoke("export", "--model", "recblr", "--runs", tmp_path / "runs", "--out", bundle)
    figures = invoke("evaluate", bundle, "--data", log)
    rows = [line.replace("onnxruntime", "streamed").split() for line in figures.splitlines()]
    streamed = [
        line.split()
        for line in printed.splitlines()
        if line.split()[:2] in (["streamed", "masked"], ["streamed", "unmasked"])
    ]
    assert [row for row in rows if row[:1] == ["streamed"]] == streamed
    assert len(streamed) == 2
    assert float(figures.split("largest difference of any figure")[1]) < 1e-6
    assert "validation: 40 users" in invoke("evaluate", bundle, "--data", log, "--split", "validation")
    refused = invoke("evaluate", bundle, fails=2)
    assert re.search(r"expected the data of .*bundle .*; got sample .* with --data", refused)


def test_an_interrupted_training_says_how_to_go_on(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    with interrupted_at(epoch=0):
        assert "interrupted; no run is left" in train_on(log, runs, fails=130)
    assert not runs.exists()
    with interrupted_at(epoch=1):
        printed = train_on(log, runs, fails=130)
    (run,) = (runs / "recblr").iterdir()
    assert printed.splitlines()[-1] == f"deployrec: interrupted; to go on: deployrec train --resume {run}"
    assert f"{run} was interrupted; to finish it: deployrec train --resume {run}" in train_on(log, runs)
    resumed = invoke("train", "--resume", run)
    assert f"resuming {run}" in resumed
    assert f"run {run} " in resumed


def test_the_sample_is_held_against_what_is_possible(sample: Dataset, tmp_path: Path) -> None:
    run, _ = start("recblr", DataSource("sample"), settings=["dim=16"], root=tmp_path, dataset=sample)
    run.finish(random_model("recblr", sample), {}, {})
    best = sample_ceiling()
    assert f"best possible on the sample: HR@10 {best.hit_rate:.4f}" in invoke("evaluate", run.path)
    assert "best possible" not in invoke("evaluate", run.path, "--split", "validation")
