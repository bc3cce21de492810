"""What a training shows: where it stands with the time left, and one line per validation."""

from __future__ import annotations

import math
import time
from typing import Any

import lightning.pytorch as lightning
from rich.console import Console

from deployrec.progress import Progress, clock
from deployrec.training.module import MONITOR, TrainingModule


class ShowProgress(lightning.Callback):
    """Tells `progress` of every batch, and prints every validation to `console`.

    The time left assumes that all epochs run (early stopping only shortens it).
    """

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console, self._progress = console, progress
        self._started = time.monotonic()
        self._done_before = 0.0

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._started = time.monotonic()
        done = _module(pl_module).batches_done
        self._done_before = trainer.current_epoch + done / trainer.num_training_batches
        self._show(trainer, pl_module, done)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._show(trainer, pl_module, batch_idx + 1)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        batches = int(trainer.num_training_batches)
        done, total = batches * (trainer.current_epoch + 1), batches * _epochs(trainer)
        self._progress(done, total, f"epoch {_epoch(trainer)}  validating")

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

    def _show(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batches: int) -> None:
        loss = _module(pl_module).recent_loss
        done = int(trainer.num_training_batches) * trainer.current_epoch + batches
        text = f"loss {loss:.3f}" if math.isfinite(loss) else "first batches ..."
        self._progress(done, int(trainer.num_training_batches) * _epochs(trainer), f"epoch {_epoch(trainer)}  {text}")


def _epochs(trainer: lightning.Trainer) -> int:
    return trainer.max_epochs or 0


def _epoch(trainer: lightning.Trainer) -> str:
    return f"{trainer.current_epoch + 1}/{trainer.max_epochs}"


def _module(module: lightning.LightningModule) -> TrainingModule:
    assert isinstance(module, TrainingModule)
    return module
