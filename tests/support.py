"""Things that tests of several rooms make for themselves."""

import torch

from deployrec.data import Dataset
from deployrec.models import SequentialRecommender, build_model


def random_model(key: str, dataset: Dataset, seed: int = 0) -> SequentialRecommender:
    """A small model whose weights are all random, biases and norms included, as after a training."""
    torch.manual_seed(seed)
    model = build_model(key, dataset.num_items, {"dim": 16})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.embedding.weight[0] = 0
    return model.eval()
