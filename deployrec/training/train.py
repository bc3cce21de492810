"""Trains a model into a run folder, from the start or from an interrupted run's last epoch."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging
from rich.console import Console
from torch import Tensor

from deployrec.data import Dataset, leave_one_out
from deployrec.errors import RunError
from deployrec.files import atomic_file
from deployrec.models import ModelClass, SequentialRecommender, build_model, model_class
from deployrec.training.baselines import item_counts
from deployrec.training.config import TrainingConfig, apply_settings
from deployrec.training.device import device_name, device_of
from deployrec.training.evaluate import ceiling, evaluate
from deployrec.training.module import MONITOR, LeaveOneOutData, TrainingModule
from deployrec.training.presets import preset_of
from deployrec.training.progress import ShowProgress
from deployrec.training.runs import DataSource, Run, cannot_write
from deployrec.training.scorers import carries_state

LAST, BEST = "last", "best"


def train(
    model: str | ModelClass,
    data: DataSource,
    *,
    preset: str = "quick",
    seed: int = 1,
    settings: Iterable[str] = (),
    root: str | Path = "runs",
    console: Console | None = None,
) -> Run:
    """Trains `model` on `data` by a preset and returns the finished run under root/MODEL/TIME.

    `model` is a name out of `available_models()`, "package.module:Class", or a class.
    `settings` are "key=value" texts for the model's options or the TrainingConfig. Raises DeployrecError subclasses for
    what the caller can mend, and KeyboardInterrupt when interrupted; the run then goes on with `resume`.
    """
    run, dataset = start(model, data, preset=preset, seed=seed, settings=settings, root=root)
    return fit(run, dataset, console)


def start(
    model: str | ModelClass,
    data: DataSource,
    *,
    preset: str = "quick",
    seed: int = 1,
    settings: Iterable[str] = (),
    root: str | Path = "runs",
    dataset: Dataset | None = None,
) -> tuple[Run, Dataset]:
    """Makes an unfinished run that `fit` trains; `dataset` saves loading `data` a second time."""
    model = model_class(model)  # before the data, which can take long to read
    dataset = data.load() if dataset is None else dataset
    untrained, recipe = configure(model, dataset, preset, seed, settings)
    views = leave_one_out(dataset)
    if not len(views.validation) or not (views.train.stops - views.train.starts > 1).any():
        raise RunError(f"expected users with at least 4 events; got none in {dataset.name}; train on a longer log")
    return Run.create(root, untrained, data, dataset, preset, recipe), dataset


def configure(
    model: str | ModelClass, dataset: Dataset, preset: str, seed: int, settings: Iterable[str]
) -> tuple[SequentialRecommender, TrainingConfig]:
    """The untrained model and the whole recipe that a preset, a seed and "key=value" settings come to."""
    options, recipe = preset_of(preset, model, dataset)
    options, recipe = apply_settings(model, options, replace(recipe, seed=seed), settings)
    untrained = build_model(model, dataset.num_items, options)
    if untrained.state_spec.exact_up_to is not None:
        recipe = replace(recipe, window=min(recipe.window, untrained.state_spec.exact_up_to))
    return untrained, recipe


def resume(path: str | Path, console: Console | None = None) -> Run:
    """Goes on with the interrupted run in `path` after its last whole epoch, as if it had not stopped."""
    return fit(*reopen(path), console)


def reopen(path: str | Path) -> tuple[Run, Dataset]:
    """An unfinished run and its data for `fit`; RunError if it is finished or its data have changed."""
    run = Run.load(path)
    if run.finished:
        raise RunError(
            f"expected an unfinished run; got {run.path}, which is finished; start a new one without --resume"
        )
    return run, run.dataset()


def fit(run: Run, dataset: Dataset, console: Console | None = None) -> Run:
    """Trains an unfinished run from its last checkpoint, or its seed, to the end, and evaluates it."""
    console = console or Console(quiet=True)
    config = run.training
    views = leave_one_out(dataset)
    torch.manual_seed(config.seed)
    model = run.untrained_model()
    module = TrainingModule(model, config, torch.from_numpy(item_counts(views.train)[1:]))
    checkpoint = run.checkpoints / f"{LAST}.ckpt"
    with _quiet():
        trainer = _trainer(run, config, console)
        try:
            trainer.fit(
                module,
                datamodule=LeaveOneOutData(views, config, carries_state(model)),
                ckpt_path=checkpoint if checkpoint.exists() else None,
                weights_only=True,
            )
        except SystemExit:  # how Lightning ends on Ctrl-C
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
    seconds = module.seconds
    best = torch.load(run.checkpoints / f"{BEST}.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(best["state_dict"])
    device = device_of(config.device)
    trained = module.trained_model().to(device)
    window = config.window
    validation = evaluate(trained, dataset, window=window, split="validation", baselines=False)
    test = evaluate(trained, dataset, window=window)
    facts = {
        "epochs": trainer.current_epoch,
        "best_epoch": best["epoch"] + 1,
        "seconds": round(seconds, 1),
        "device": device_name(device),
    }
    finished = run.finish(trained, {"validation": validation.to_dict(), "test": test.to_dict()}, facts)
    console.print(test.table())
    if run.source.is_sample:
        console.print(ceiling())
    return finished


class AveragedWeights(WeightAveraging):
    """Exponential averaging of weights; the decay rises as (1 + n) / (10 + n) so that short runs forget their start."""

    def __init__(self, decay: float) -> None:
        def average(averaged: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
            number = int(updates)
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + number) / (10 + number)))

        super().__init__(use_buffers=False, multi_avg_fn=average)


class WholeCheckpoints(CheckpointIO):
    """Checkpoints that appear under their name only when whole, and that load without unpickling code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            raise cannot_write(path.parent, error) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        try:
            loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise RunError(
                f"expected a checkpoint in {path}; got a file that does not load; delete it to start over"
            ) from error
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def _trainer(run: Run, config: TrainingConfig, console: Console) -> lightning.Trainer:
    folder = run.checkpoints
    callbacks: list[lightning.Callback] = [
        AveragedWeights(config.ema),
        ShowProgress(console),
        ModelCheckpoint(folder, filename=BEST, monitor=MONITOR, mode="max", enable_version_counter=False),
    ]
    if config.patience:
        callbacks.append(EarlyStopping(MONITOR, mode="max", patience=config.patience))
    # Last, so that it holds the others' state of the same epoch.
    callbacks.append(ModelCheckpoint(folder, filename=LAST, save_on_train_epoch_end=True, enable_version_counter=False))
    return lightning.Trainer(
        accelerator=device_of(config.device).type,
        devices=1,
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        max_epochs=config.epochs,
        gradient_clip_val=config.clip or None,
        check_val_every_n_epoch=min(config.validate_every, config.epochs),
        reload_dataloaders_every_n_epochs=1,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        default_root_dir=run.path,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Lightning's tips and notices away from the terminal."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
