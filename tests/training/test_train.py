"""Training learns, stops and goes on without a trace, and says in one line what is wrong."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from rich.console import Console

from deployrec.data import Dataset
from deployrec.errors import ConfigError, RunError
from deployrec.training import train as training
from deployrec.training.config import TrainingConfig
from deployrec.training.module import TrainingModule, learning_rate
from deployrec.training.presets import preset_of
from deployrec.training.runs import DataSource, Run, newest_finished, newest_unfinished
from tests.support import interrupted_at, interrupted_in
from tests.training.conftest import MakeDataset

QUICK = ["dim=16", "tokens=400", "epochs=4", "warmup_steps=5", "learning_rate=0.01", "window=12", "dropout=0.1"]
TWO_EPOCHS = [*(setting for setting in QUICK if "epochs" not in setting), "epochs=2"]

HOLD = """
import sys, time
from deployrec.files import exclusive
with exclusive(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def run_of(data: DataSource, root: Path, *settings: str, model: str = "recblr", seed: int = 1) -> Run:
    chosen = dict(setting.split("=") for setting in [*QUICK, *settings])
    return training.train(model, data, root=root, seed=seed, settings=chosen, console=Console(quiet=True))


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


@pytest.mark.parametrize("where", [(0, 1), (2, 5)], ids=["first epoch", "third epoch"])
@pytest.mark.parametrize("settings", [[], ["temperature=0.1", "loss=sampled", "negatives=20"]], ids=["", "sampled"])
def test_a_run_goes_on_within_an_epoch_bit_for_bit(
    where: tuple[int, int], settings: list[str], data: DataSource, tmp_path: Path
) -> None:
    whole = run_of(data, tmp_path / "whole", *settings)
    with interrupted_in(*where), pytest.raises(KeyboardInterrupt, match="to go on: deployrec train --resume"):
        run_of(data, tmp_path / "cut", *settings)
    (folder,) = (tmp_path / "cut" / "recblr").iterdir()
    position = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["position"]
    assert position["batches_done"] == where[1]
    again = interrupted_in(where[0], where[1] + 2)
    with again, pytest.raises(KeyboardInterrupt):  # a second time, so that going on from there is exact too
        training.resume(folder, Console(quiet=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed = training.resume(folder, Console(quiet=True))
    for name, tensor in weights_of(whole).items():
        torch.testing.assert_close(weights_of(resumed)[name], tensor, rtol=0, atol=0)
    assert resumed.metrics == whole.metrics
    assert resumed.record["epochs"] == whole.record["epochs"]


def test_checkpoints_within_an_epoch_come_by_the_clock(
    data: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[tuple[int, int]] = []
    now = [0.0]
    save = lightning.Trainer.save_checkpoint

    def record(trainer: lightning.Trainer, path: Any, *arguments: Any, **options: Any) -> None:
        if Path(path).name == "last.ckpt":
            module = trainer.lightning_module
            assert isinstance(module, TrainingModule)
            saved.append((module.current_epoch, module.batches_done))
        save(trainer, path, *arguments, **options)

    def tick(module: TrainingModule, batch: Any, batch_idx: int) -> Any:
        now[0] += 25
        return step(module, batch, batch_idx)

    step = TrainingModule.training_step
    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", record)
    monkeypatch.setattr(TrainingModule, "training_step", tick)
    monkeypatch.setattr("deployrec.training.checkpoints.time.monotonic", lambda: now[0])
    run_of(data, tmp_path, "epochs=1")
    assert saved[:3] == [(0, 3), (0, 6), (0, 9)]
    assert saved[-1] == (0, 0)


def test_a_run_before_its_first_checkpoint_leaves_no_folder(
    data: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise error

    for error, message in ((KeyboardInterrupt(), "no run is left"), (ValueError("out of luck"), "out of luck")):
        monkeypatch.setattr(TrainingModule, "training_step", broken)
        with pytest.raises(type(error), match=message):
            run_of(data, tmp_path / "new" / "runs")
        assert list(tmp_path.iterdir()) == []


def test_a_run_in_training_is_not_resumed(data: DataSource, tmp_path: Path, cycles: Dataset) -> None:
    run, _ = training.start("recblr", data, root=tmp_path, settings=QUICK)
    run.checkpoints.mkdir()
    (run.checkpoints / "last.ckpt").touch()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for go_on in (lambda: training.resume(run.path), lambda: training.fit(run, cycles)):
            with pytest.raises(RunError, match="which a process is training right now; wait"):
                go_on()
        assert run.is_locked()
        later, _ = training.start("recblr", data, root=tmp_path, settings=QUICK)
        assert newest_unfinished(tmp_path, "recblr", cycles, before=later) is None
    finally:
        holder.kill()
        holder.communicate()
    assert (run.path / "lock").exists()
    assert not run.is_locked()
    assert newest_unfinished(tmp_path, "recblr", cycles, before=later) == run
    with run.locked():
        assert run.is_locked()
    assert not (run.path / "lock").exists()


def test_a_broken_folder_hides_no_other_run(data: DataSource, tmp_path: Path, cycles: Dataset) -> None:
    run = run_of(data, tmp_path, "epochs=1")
    record = (run.path / "run.json").read_text()
    broken = {"9-text": "{", "9-schema": '{"schema": 2}', "9-list": "[]", "9-keys": '{"schema": 1}'}
    broken["9-settings"] = record.replace('"epochs": 1', '"epochs": "one"')
    for name, text in broken.items():
        (tmp_path / "recblr" / name).mkdir()
        (tmp_path / "recblr" / name / "run.json").write_text(text)
    notes: list[str] = []
    assert newest_finished(tmp_path, "recblr", notes.append) == run
    assert len(notes) == len(broken)
    assert all(note.startswith("note: skipped ") and "; got " in note and "\n" not in note for note in notes)
    assert newest_unfinished(tmp_path, "recblr", cycles, before=run) is None


def test_a_data_set_in_memory_is_enough(cycles: Dataset, tmp_path: Path) -> None:
    with interrupted_at(epoch=1), pytest.raises(KeyboardInterrupt):
        training.train("recblr", cycles, root=tmp_path, settings=QUICK, console=Console(quiet=True))
    (folder,) = (tmp_path / "recblr").iterdir()
    with pytest.raises(RunError, match="it was trained on data in memory"):
        training.resume(folder)
    run = training.resume(folder, Console(quiet=True), cycles)
    assert repr(run).startswith(f"Run('{run.path}': recblr on tiny, quick, seed 1, test HR@10 ")


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


def test_a_loss_that_is_not_finite_ends_in_one_line(
    data: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for first_bad_epoch, left in ((0, False), (2, True)):
        root = tmp_path / str(first_bad_epoch)
        with monkeypatch.context() as patch:
            patch.setattr(
                "deployrec.training.module.learning_rate",
                lambda config, step, progress, bad=first_bad_epoch / 4: 1e-3 if progress < bad else float("inf"),
            )
            with pytest.raises(RunError, match=r"expected a finite loss; got nan in epoch \d+") as caught:
                run_of(data, root, "clip=0", "patience=0")
        assert "\n" not in str(caught.value)
        assert newest_finished(root, "recblr") is None
        assert root.exists() == left
    (folder,) = (root / "recblr").iterdir()
    with pytest.raises(RunError, match="which failed"):
        training.resume(folder)
    with pytest.raises(RunError, match="train a new one"):
        Run.load(folder).model()
    assert "failed" in repr(Run.load(folder))


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
        training.train("recblr", data, root=tmp_path, settings=TWO_EPOCHS, console=Console(width=200))
    out, err = capfd.readouterr()
    within_an_epoch = re.compile(r"epoch \d/2  .* of \d+, ")  # a line that a slow machine gets too
    lines = [line for line in out.splitlines() if not within_an_epoch.match(line)]
    assert lines[0].startswith("note: 28% of the events repeat an item of their user: seen items stay candidates")
    assert lines[1] == "training recblr (quick) on tiny: 120 users, 30 items, 4,099 events"
    assert [line.split("  ")[0] for line in lines[2:4]] == ["epoch 1/2", "epoch 2/2"]
    assert "left" in lines[2]
    assert lines[4].startswith("tiny, test")
    assert lines[-2].startswith("still learning at its last epoch, 2: more may help (--set epochs=4)")
    assert lines[-1].startswith(f"run {tmp_path}")
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
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for histories in ([[1, 2], [2]], [[1, 2, 3], [3, 2, 1]]):
        dataset = make_dataset(histories)
        monkeypatch.setattr("deployrec.training.runs.load_dataset", lambda source, dataset=dataset, **options: dataset)
        with pytest.raises(RunError, match="at least 4 events"):
            training.train("recblr", DataSource("short.inter"), root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_user_is_enough(make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make_dataset([[1, 2, 1, 2]])
    monkeypatch.setattr("deployrec.training.runs.load_dataset", lambda source, **options: one)
    run = training.train("recblr", DataSource("one.inter"), root=tmp_path, settings=["epochs=1", "precision=bf16"])
    assert run.metrics["test"]["users"] == 1


def test_presets_know_long_from_short_histories(cycles: Dataset, make_dataset: MakeDataset) -> None:
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
