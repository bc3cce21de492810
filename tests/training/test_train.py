"""Training learns, stops and goes on without a trace, and says in one line what is wrong."""

from __future__ import annotations

import json
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from deployrec.data import Dataset
from deployrec.errors import ConfigError, RunError
from deployrec.training import train as training
from deployrec.training.config import TrainingConfig, apply_settings
from deployrec.training.module import learning_rate
from deployrec.training.presets import preset_of
from deployrec.training.runs import DataSource, Run, newest_finished, newest_unfinished
from tests.support import interrupted_at

QUICK = ["dim=16", "tokens=400", "epochs=4", "warmup_steps=5", "learning_rate=0.01", "window=12", "dropout=0.1"]


@pytest.fixture
def data(cycles: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSource:
    """The `cycles` data behind a path, as `load_dataset` would read it from disk."""
    monkeypatch.setattr("deployrec.training.runs.load_dataset", lambda source, **options: cycles)
    return DataSource(str(tmp_path / "cycles.inter"))


def run_of(data: DataSource, root: Path, *settings: str, model: str = "recblr", seed: int = 1) -> Run:
    return training.train(model, data, root=root, seed=seed, settings=[*QUICK, *settings])


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    return dict(run.model().state_dict())


@pytest.mark.parametrize("model", ["recblr", "glintru"])
def test_training_learns_what_popularity_cannot(model: str, data: DataSource, tmp_path: Path) -> None:
    run = run_of(data, tmp_path, "epochs=12", "patience=0", model=model)
    rows = run.metrics["test"]["rows"]
    assert rows["windowed"]["unmasked"]["hr@10"] > 0.9 > 0.6 > rows["popularity"]["unmasked"]["hr@10"]
    assert set(rows) == {"windowed", "streamed", "popularity", "bigram", "5-lag Markov"}
    assert run.metrics["validation"]["rows"]["windowed"]["masked"]["ndcg@10"] > 0.3


@pytest.mark.parametrize("loss", ["sampled", "uniform", "softmax"])
def test_every_loss_learns(loss: str, data: DataSource, tmp_path: Path) -> None:
    extra = ["negatives=20"] if loss != "softmax" else ["temperature=0.1", "label_smoothing=0.05", "context_power=0.5"]
    run = run_of(data, tmp_path, f"loss={loss}", *extra, "epochs=10")
    assert run.metrics["test"]["rows"]["windowed"]["unmasked"]["hr@10"] > 0.8


@pytest.mark.parametrize("settings", [[], ["temperature=0.1"]])
def test_an_interrupted_run_ends_like_one_that_was_not(settings: list[str], data: DataSource, tmp_path: Path) -> None:
    whole = run_of(data, tmp_path / "whole", *settings)
    with interrupted_at(epoch=2), pytest.raises(KeyboardInterrupt):
        run_of(data, tmp_path / "cut", *settings)
    (folder,) = (tmp_path / "cut" / "recblr").iterdir()
    with pytest.raises(RunError, match="--resume"):
        Run.load(folder).model()
    resumed = training.resume(folder)
    for name, tensor in weights_of(whole).items():
        torch.testing.assert_close(weights_of(resumed)[name], tensor, rtol=0, atol=0)
    assert resumed.metrics == whole.metrics
    assert resumed.record["seconds"] > 0
    with pytest.raises(RunError, match="which is finished"):
        training.resume(folder)


def test_a_seed_fixes_the_weights_and_another_changes_them(data: DataSource, tmp_path: Path) -> None:
    first, again, other = (run_of(data, tmp_path, "epochs=1", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(weights_of(first)["embedding.weight"], weights_of(again)["embedding.weight"])
    assert not torch.equal(weights_of(first)["embedding.weight"], weights_of(other)["embedding.weight"])
    assert first.record["seed"] == 3


def test_kept_weights_are_averaged_and_padding_stays_zero(data: DataSource, tmp_path: Path) -> None:
    averaged, plain = (run_of(data, tmp_path, f"ema={ema}", "epochs=2") for ema in (0.999, 0))
    assert not torch.equal(weights_of(averaged)["embedding.weight"], weights_of(plain)["embedding.weight"])
    for run in (averaged, plain, run_of(data, tmp_path, "temperature=0.1", "weight_decay=0.1", "epochs=1")):
        assert weights_of(run)["embedding.weight"][0].abs().max() == 0


def test_a_temperature_leaves_unit_rows(data: DataSource, tmp_path: Path) -> None:
    table = weights_of(run_of(data, tmp_path, "temperature=0.1", "epochs=1"))["embedding.weight"][1:]
    torch.testing.assert_close(table.norm(dim=1), torch.ones(len(table)))


def test_early_stopping_ends_a_run_that_no_longer_improves(data: DataSource, tmp_path: Path) -> None:
    run = run_of(data, tmp_path, "learning_rate=1e-12", "ema=0", "patience=2", "epochs=30")
    assert run.record["epochs"] < 30


def test_a_loss_that_is_not_finite_ends_in_one_line(data: DataSource, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"expected a finite loss; got nan in epoch \d+") as caught:
        run_of(data, tmp_path, "learning_rate=1e30", "clip=0")
    assert "\n" not in str(caught.value)
    assert newest_finished(tmp_path, "recblr") is None


def test_the_best_epoch_is_kept(data: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "deployrec.training.module.learning_rate", lambda config, step, progress: 0.01 if progress < 0.5 else 1.0
    )
    run = run_of(data, tmp_path, "ema=0")
    assert run.record["best_epoch"] == 2
    assert run.record["epochs"] == 4
    assert run.metrics["validation"]["rows"]["windowed"]["unmasked"]["hr@10"] > 0.6


def test_nothing_but_our_lines_is_printed(
    data: DataSource, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    notices: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", notices.append)
    for name in ("lightning.pytorch", "lightning.fabric"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [handler])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training.train("recblr", data, root=tmp_path, settings=[*QUICK, "epochs=2"], console=Console(width=200))
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert [line.split("  ")[0] for line in lines[:2]] == ["epoch 1/2", "epoch 2/2"]
    assert "left" in lines[0]
    assert lines[2].startswith("tiny, test")
    assert err == ""
    assert notices == []


def test_runs_are_found_by_age_and_state(data: DataSource, tmp_path: Path, cycles: Dataset) -> None:
    assert newest_finished(tmp_path, "recblr") is None
    first, second = (run_of(data, tmp_path, "epochs=1") for _ in range(2))
    started, _ = training.start("recblr", data, root=tmp_path, settings=QUICK)
    found = newest_finished(tmp_path, "recblr")
    assert found is not None
    assert found.path == second.path != first.path
    assert newest_unfinished(tmp_path, "recblr", cycles, before=started) is None
    (started.checkpoints).mkdir()
    (started.checkpoints / "last.ckpt").touch()
    later, _ = training.start("recblr", data, root=tmp_path, settings=QUICK)
    hint = newest_unfinished(tmp_path, "recblr", cycles, before=later)
    assert hint is not None
    assert hint.path == started.path


def test_a_broken_checkpoint_is_one_line(data: DataSource, tmp_path: Path) -> None:
    run, dataset = training.start("recblr", data, root=tmp_path, settings=QUICK)
    run.checkpoints.mkdir()
    (run.checkpoints / "last.ckpt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(RunError, match="expected a checkpoint"):
        training.fit(run, dataset)


def test_a_full_disk_is_one_line(data: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    for place in ("torch.save", "deployrec.training.runs.write_items", "deployrec.training.runs.atomic_write"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(RunError, match="got 'No space left on device'; make room"):
                run_of(data, tmp_path, "epochs=1")
    assert newest_finished(tmp_path, "recblr") is None


def test_a_finished_run_keeps_what_it_needs_and_no_more(data: DataSource, tmp_path: Path) -> None:
    run = run_of(data, tmp_path, "epochs=1")
    assert {file.name for file in run.path.iterdir()} == {"run.json", "weights.safetensors", "items.csv"}


def test_runs_that_cannot_be_used(data: DataSource, tmp_path: Path, cycles: Dataset) -> None:
    with pytest.raises(RunError, match=r"expected a run folder with run\.json"):
        Run.load(tmp_path / "nowhere")
    run = run_of(data, tmp_path, "epochs=1")
    other = replace(cycles, events=cycles.events[::-1])
    with pytest.raises(RunError, match="expected the data of"):
        run.check_data(other)
    weights = run.path / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="that does not fit"):
        run.model()
    weights.write_bytes(whole[:-4] + b"\x00\x00\xc0\x7f")
    with pytest.raises(RunError, match="expected finite weights"):
        run.model()
    record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**record, "schema": 2}))
    with pytest.raises(RunError, match="expected a run of schema 1"):
        Run.load(run.path)


def test_a_log_with_too_short_users_is_refused_before_a_folder_is_made(
    make_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for histories in ([[1, 2], [2]], [[1, 2, 3], [3, 2, 1]]):
        dataset = make_dataset(histories)
        monkeypatch.setattr("deployrec.training.runs.load_dataset", lambda source, dataset=dataset, **options: dataset)
        with pytest.raises(RunError, match="at least 4 events"):
            training.train("recblr", DataSource("short.inter"), root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_user_is_enough(make_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make_dataset([[1, 2, 1, 2]])
    monkeypatch.setattr("deployrec.training.runs.load_dataset", lambda source, **options: one)
    run = training.train("recblr", DataSource("one.inter"), root=tmp_path, settings=["epochs=1", "precision=bf16"])
    assert run.metrics["test"]["users"] == 1


def test_settings_reach_the_model_and_the_recipe() -> None:
    options, recipe = apply_settings("glintru", {"dim": 64}, TrainingConfig(), ["heads=4", "ema=0.9", "key_norm=token"])
    assert options == {"dim": 64, "heads": 4, "key_norm": "token"}
    assert recipe == TrainingConfig(ema=0.9)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("heads", "expected --set key=value"),
        ("hedas=4", "got 'hedas'"),
        ("heads=four", "expected heads as a whole number"),
        ("key_norm=both", "expected key_norm out of token, time"),
        ("loss=hinge", "expected loss out of"),
        ("epochs=0", "expected epochs above 0"),
        ("ema=2", "expected ema between 0 and 1"),
        ("device=abacus", "expected device auto, cpu or cuda"),
    ],
)
def test_settings_that_are_wrong(setting: str, message: str, data: DataSource, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        training.train("glintru", data, root=tmp_path, settings=[setting])
    assert not list(tmp_path.glob("glintru/*/checkpoints"))


def test_a_model_that_is_not_there_is_refused_before_the_data_is_read(tmp_path: Path) -> None:
    nowhere = DataSource(str(tmp_path / "no-such-log.csv"))
    for model in ("abacus", "no_such_module:Model"):
        with pytest.raises(ConfigError, match=r"expected one of the models|expected a module no_such_module"):
            training.train(model, nowhere, root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_presets_know_long_from_short_histories(cycles: Dataset, make_dataset) -> None:
    long = make_dataset([[1, 2, 3, 4] * 20] * 3)
    short = make_dataset([[1, 2, 3, 4]] * 3)
    for name in ("quick", "full"):
        assert preset_of(name, "recblr", long)[1].window > preset_of(name, "recblr", short)[1].window
        for model in ("recblr", "glintru", "gru4rec", "sasrec"):
            assert preset_of(name, model, long)[0]["dropout"] < preset_of(name, model, short)[0]["dropout"]
    assert preset_of("quick", "recblr", long)[1].epochs < preset_of("full", "recblr", long)[1].epochs
    with pytest.raises(ConfigError, match="expected a preset"):
        preset_of("slow", "recblr", long)


def test_the_rate_warms_up_and_falls() -> None:
    config = TrainingConfig(learning_rate=1.0, warmup_steps=10)
    assert learning_rate(config, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(config, 100, 0.0) == pytest.approx(1.0)
    assert learning_rate(config, 100, 0.5) == pytest.approx(0.505)
    assert learning_rate(config, 100, 1.0) == pytest.approx(0.01)
    assert learning_rate(replace(config, schedule="constant"), 100, 1.0) == 1.0
