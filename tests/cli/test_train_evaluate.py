"""The verbs `train` and `evaluate`, for runs and for bundles: what they print, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from deployrec.cli.evaluate import evaluate
from deployrec.cli.export import export
from deployrec.cli.train import train
from deployrec.data import Dataset
from deployrec.data.sample_ceiling import sample_ceiling
from deployrec.errors import ConfigError, DeployrecError, RunError
from deployrec.training.runs import DataSource
from deployrec.training.train import start
from tests.support import interrupted_at, random_model

app = typer.Typer()
app.command()(train)
app.command()(evaluate)
app.command()(export)

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
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == fails, result.output
    return result.output


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
    assert len(trained) == 10
    assert "users beyond 12 events" in figures
    moved = log.rename(tmp_path / "moved.csv")
    again = invoke("evaluate", run, "--data", moved, "--split", "validation")
    assert "validation" in again
    moved.write_text(moved.read_text() + "u0,film-3,999\n")
    with pytest.raises(RunError, match="expected the data of"):
        invoke("evaluate", run, "--data", moved)


def test_evaluate_a_bundle_gives_the_figures_of_its_training(log: Path, tmp_path: Path) -> None:
    printed = train_on(log, tmp_path / "runs")
    bundle = tmp_path / "bundle"
    invoke("export", "--model", "recblr", "--runs", tmp_path / "runs", "--out", bundle)
    figures = invoke("evaluate", bundle, "--data", log)
    rows = [line.replace("onnxruntime", "streamed").split() for line in figures.splitlines()]
    streamed = [line.split() for line in printed.splitlines() if line.split()[:1] == ["streamed"]]
    assert [row for row in rows if row[:1] == ["streamed"]] == streamed
    assert len(streamed) == 2
    assert float(figures.split("largest difference of any figure")[1]) < 1e-6
    assert "validation: 40 users" in invoke("evaluate", bundle, "--data", log, "--split", "validation")
    with pytest.raises(RunError, match=r"expected the data of .*bundle .*; got sample .* with --data"):
        invoke("evaluate", bundle)


def test_an_interrupted_training_says_how_to_go_on(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    with interrupted_at(epoch=1):
        printed = train_on(log, runs, fails=130)
    (run,) = (runs / "recblr").iterdir()
    assert f"to go on: deployrec train --resume {run}" in printed
    assert f"{run} was interrupted; to finish it: deployrec train --resume {run}" in train_on(log, runs)
    resumed = invoke("train", "--resume", run)
    assert f"resuming {run}" in resumed
    assert f"run {run} " in resumed


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["train", "--model", "glintrou"], ConfigError, "got 'glintrou'"),
        (["train", "--data", "nowhere.csv"], DeployrecError, "nowhere.csv"),
        (["train", "--preset", "slow"], ConfigError, "expected a preset out of quick, full"),
        (["train", "--set", "depth=3"], ConfigError, "got 'depth'"),
        (["train", "--resume", "nowhere"], RunError, "expected a run folder"),
        (["evaluate", "nowhere"], RunError, "expected a run folder"),
        (["evaluate", "--model", "glintru", "--runs", "nowhere"], RunError, "deployrec train --model glintru"),
        (["evaluate", "--split", "train"], ConfigError, "expected a split out of test, validation"),
    ],
)
def test_mistakes_get_one_line(arguments: list[str], error: type[Exception], message: str, tmp_path: Path) -> None:
    if arguments[0] == "train":
        arguments = [*arguments, "--out", str(tmp_path)]
    with pytest.raises(error, match=message) as caught:
        invoke(*arguments)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_sample_is_held_against_what_is_possible(sample: Dataset, tmp_path: Path) -> None:
    run, _ = start("recblr", DataSource("sample"), settings=["dim=16"], root=tmp_path, dataset=sample)
    run.finish(random_model("recblr", sample), {}, {})
    best = sample_ceiling()
    assert f"best possible on the sample: HR@10 {best.hit_rate:.4f}" in invoke("evaluate", run.path)
    assert "best possible" not in invoke("evaluate", run.path, "--split", "validation")
