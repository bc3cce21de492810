"""Checkpoints of a run in training: the best by validation, and the last, from which it goes on exactly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.fabric.plugins.io import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from deployrec.errors import RunError
from deployrec.files import atomic_file
from deployrec.training.runs import cannot_write

LAST, BEST = "last", "best"
SECONDS = 60.0
"""Between two checkpoints within an epoch; longer where writing one takes more than a SHARE of it."""
SHARE = 0.05


class LastCheckpoint(Checkpoint):
    """Writes FOLDER/last.ckpt after every epoch, and about every minute within a long one.

    Lightning calls checkpoint callbacks after all others, so that it holds the others' state of the same batch.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"{LAST}.ckpt"
        self._saved, self._wait = time.monotonic(), SECONDS

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        last = batch_idx + 1 == trainer.num_training_batches  # the epoch's own follows its validation
        if not last and time.monotonic() - self._saved >= self._wait:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        begun = time.monotonic()
        trainer.save_checkpoint(self._file)
        self._saved = time.monotonic()
        self._wait = max(SECONDS, (self._saved - begun) / SHARE)


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
