"""Things that tests of several rooms make for themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from deployrec.data import Dataset
from deployrec.models import ModelClass, SequentialRecommender, build_model
from deployrec.training.module import TrainingModule
from deployrec.training.windows import WindowBatch

BASELINES = ("caser", "fpmc", "lrurec", "mamba4rec")
"""Models with a state whose exports the fast tests leave to the slow ones."""


def each_key(*keys: str) -> list[Any]:
    """Models as parameters of a test; the baselines marked slow."""
    return [pytest.param(key, marks=[pytest.mark.slow] if key in BASELINES else []) for key in keys]


def random_model(key: str | ModelClass, dataset: Dataset, seed: int = 0, **options: Any) -> SequentialRecommender:
    """A small model whose weights are all random, biases and norms included, as after a training."""
    torch.manual_seed(seed)
    model = build_model(key, dataset.num_items, {"dim": 16, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.embedding.weight[0] = 0
    return model.eval()


@contextmanager
def interrupted_in(epoch: int, batch: int) -> Iterator[None]:
    """Trainings inside write a checkpoint after every batch, and are interrupted before this one (both from 0 on)."""
    train = TrainingModule.training_step

    def interrupt(module: TrainingModule, window: WindowBatch, batch_idx: int) -> Tensor:
        if (module.current_epoch, batch_idx) == (epoch, batch):
            raise KeyboardInterrupt
        return train(module, window, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "training_step", interrupt)
        patch.setattr("deployrec.training.checkpoints.SECONDS", 0.0)
        patch.setattr("deployrec.training.checkpoints.SHARE", float("inf"))
        yield


@contextmanager
def interrupted_at(epoch: int) -> Iterator[None]:
    """Trainings inside are interrupted, as by Ctrl+C, when they come to the validation of this epoch (from 0 on)."""
    validate = TrainingModule.on_validation_epoch_start

    def interrupt(module: TrainingModule) -> None:
        if module.current_epoch == epoch:
            raise KeyboardInterrupt
        validate(module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "on_validation_epoch_start", interrupt)
        yield
