"""Lightning's trainer as runs use it: averaged weights, our checkpoints, our progress, and nothing of its own said."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging
from rich.console import Console
from torch import Tensor

from deployrec.progress import Progress
from deployrec.training.checkpoints import BEST, LastCheckpoint, WholeCheckpoints
from deployrec.training.config import TrainingConfig
from deployrec.training.device import device_of
from deployrec.training.module import MONITOR
from deployrec.training.progress import ShowProgress
from deployrec.training.runs import Run


def make_trainer(run: Run, config: TrainingConfig, console: Console, progress: Progress) -> lightning.Trainer:
    """The trainer of a run, which writes its checkpoints and stops early as its recipe says."""
    folder = run.checkpoints
    callbacks: list[lightning.Callback] = [
        AveragedWeights(config.ema),
        ShowProgress(console, progress),
        ModelCheckpoint(folder, filename=BEST, monitor=MONITOR, mode="max", enable_version_counter=False),
    ]
    if config.patience:
        callbacks.append(EarlyStopping(MONITOR, mode="max", patience=config.patience))
    callbacks.append(LastCheckpoint(folder))
    return lightning.Trainer(
        accelerator=device_of(config.device).type,
        devices=1,
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        max_epochs=config.epochs,
        gradient_clip_val=config.clip or None,
        check_val_every_n_epoch=config.validate_every,
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
def quiet() -> Iterator[None]:
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


class AveragedWeights(WeightAveraging):
    """Exponential averaging of weights; the decay rises as (1 + n) / (10 + n) so that short runs forget their start."""

    def __init__(self, decay: float) -> None:
        def average(averaged: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
            number = int(updates)
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + number) / (10 + number)))

        super().__init__(use_buffers=False, multi_avg_fn=average)
