"""Things that tests of several rooms make for themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from deployrec.data import Dataset
from deployrec.models import SequentialRecommender, build_model
from deployrec.training.module import TrainingModule


def random_model(key: str, dataset: Dataset, seed: int = 0) -> SequentialRecommender:
    """A small model whose weights are all random, biases and norms included, as after a training."""
    torch.manual_seed(seed)
    model = build_model(key, dataset.num_items, {"dim": 16})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.embedding.weight[0] = 0
    return model.eval()


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
