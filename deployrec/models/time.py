"""The moment of a request: what the seconds since a user's last event say about the next one."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployrec.options import option

EDGES = (0.0, *(2.0**power for power in range(32)))
"""Seconds at which a bucket begins: at once, from 1 on, from 2 on, ..., from 68 years on; before the first, unknown."""
EXPANSION = 2


def time_option() -> Any:
    """The option of a model to know how long ago a user's last event was."""
    return option(False, "true: how long ago the last event was changes the scores; wants a log with real times")


class Moment(nn.Module):
    """Mixes the seconds since the last event into a user vector: user + two-layer network of (user, bucket).

    Buckets double in width. What a bucket adds to the first layer is the sum of all steps up to it, so that neighbours
    learn from each other, and seconds beyond any in training are the last ones that were there. Untrained, it is the
    identity; the vector before it is what is stored, and answers any later moment.
    """

    edges: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.user = nn.Linear(dim, EXPANSION * dim)
        self.steps = nn.Parameter(torch.zeros(len(EDGES), EXPANSION * dim))
        self.out = nn.Parameter(torch.zeros(dim, EXPANSION * dim))
        self.register_buffer("edges", torch.tensor(EDGES), persistent=False)

    def forward(self, user: Tensor, elapsed: Tensor) -> Tensor:
        """user [..., D], elapsed [...] in seconds, negative where unknown -> [..., D]."""
        passed = (elapsed.unsqueeze(-1) >= self.edges).to(user.dtype)
        return user + F.linear(F.gelu(self.user(user) + passed @ self.steps), self.out)
