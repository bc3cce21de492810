"""`evaluate` takes a run, a bundle, the folder of either, or a model; all give the figures of one evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from deployrec.bundle.bundle import Bundle
from deployrec.data import Dataset
from deployrec.errors import ConfigError, RunError
from deployrec.evaluation import evaluate
from deployrec.export import export_bundle
from deployrec.training.runs import Run
from deployrec.training.train import train

SETTINGS = {"dim": 8, "epochs": 2, "window": 10, "tokens": 200, "warmup_steps": 5}
LOG = "user_id,item_id,timestamp\n" + "".join(
    f"u{user},i{(user + step) % 15},{step}\n" for user in range(40) for step in range(8 + user % 20)
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "log.csv").write_text(LOG)
    return train("recblr", folder / "log.csv", settings=SETTINGS, root=folder / "runs", console=Console(quiet=True))


def test_a_run_its_folder_and_its_model_have_one_set_of_figures(run: Run) -> None:
    report = evaluate(run)
    assert report.to_dict() == run.metrics["test"]
    assert evaluate(run.path).rows == report.rows
    assert evaluate(run.model(), run.dataset(), window=10).rows == report.rows
    told: list[tuple[int, int, str]] = []
    evaluate(run, run.dataset(), split="validation", progress=lambda *step: told.append(step))
    assert {text.rpartition(", ")[2] for _, _, text in told if "ranking" in text} >= {"windowed", "streamed", "bigram"}


def test_a_bundle_serves_what_was_trained(run: Run, tmp_path: Path) -> None:
    bundle = export_bundle(run.model(), run.dataset(), tmp_path / "bundle", window=10).bundle
    served = evaluate(bundle, run.dataset()).row("onnxruntime").metrics
    assert served == pytest.approx(evaluate(run).row("streamed").metrics)
    assert evaluate(str(tmp_path / "bundle"), run.dataset()).row("onnxruntime").metrics == served
    with pytest.raises(RunError, match="expected the data of"):
        evaluate(Bundle.open(tmp_path / "bundle"))


def test_what_does_not_fit_is_refused(run: Run, sample: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a data set and a window for a model"):
        evaluate(run.model())
    with pytest.raises(ConfigError, match="expected window for a model alone"):
        evaluate(run, window=10)
    with pytest.raises(ConfigError, match="expected a split"):
        evaluate(run, split="train")
    with pytest.raises(RunError, match="expected the data of"):
        evaluate(run, sample)
    with pytest.raises(RunError, match="expected a run folder"):
        evaluate(tmp_path)
