"""What a training shows: a live bar with the time left, and one line per validation."""

from __future__ import annotations

import time
from typing import Any

import lightning.pytorch as lightning
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from deployrec.training.module import MONITOR, TrainingModule


class ShowProgress(lightning.Callback):
    """Prints to `console`; the time left assumes that all epochs run (early stopping only shortens it)."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._done_before = 0
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=120,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = TaskID(0)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._started = time.monotonic()
        self._done_before = trainer.current_epoch
        total = trainer.num_training_batches * _epochs(trainer)
        done = int(trainer.num_training_batches) * trainer.current_epoch
        self._bar.start()
        self._task = self._bar.add_task("train", total=total, completed=done, epoch=_epoch(trainer), loss=float("nan"))

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        done = trainer.num_training_batches * trainer.current_epoch + batch_idx + 1
        self._bar.update(self._task, completed=done, epoch=_epoch(trainer), loss=_module(pl_module).recent_loss)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        elapsed = time.monotonic() - self._started
        epochs = trainer.current_epoch + 1
        left = elapsed / (epochs - self._done_before) * (_epochs(trainer) - epochs)
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._console.print(
            f"epoch {_epoch(trainer)}  loss {_module(pl_module).recent_loss:.3f}  "
            f"validation HR@10 {figures['hr@10']:.4f} NDCG@10 {figures[MONITOR]:.4f}  "
            f"{clock(elapsed)}, left {clock(left)}",
            highlight=False,
            soft_wrap=True,
        )

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._bar.stop()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self._bar.stop()


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _epochs(trainer: lightning.Trainer) -> int:
    return trainer.max_epochs or 0


def _epoch(trainer: lightning.Trainer) -> str:
    return f"{trainer.current_epoch + 1}/{trainer.max_epochs}"


def _module(module: lightning.LightningModule) -> TrainingModule:
    assert isinstance(module, TrainingModule)
    return module
