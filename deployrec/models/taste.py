"""A user's factor that needs no training of its own: a running mean of vectors of the items."""

from __future__ import annotations

import torch
from deployrec_kernels import linear_recurrence
from torch import Tensor, nn

FORGETTING = 0.05
"""Of the mean at each event, before training."""


class Taste(nn.Module):
    """m_t = (1 - w) m_{t-1} + w v_t, with a weight w of each channel that is learnt.

    Stands for the table of user factors of FPMC and Caser, which knows nobody who was not there in training. A plain
    mean would do as well, but its sum over 100,000 events loses what float32 cannot hold.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.full((dim,), FORGETTING).logit())

    def encode(self, values: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """values [B, T, D], state [B, D] -> (the mean after every event [B, T, D], and at each row's end [B, D])."""
        weight = torch.sigmoid(self.logit)
        return linear_recurrence((1 - weight).expand_as(values), weight * values, state, lengths)

    def step(self, values: Tensor, state: Tensor) -> Tensor:
        """values [B, D], state [B, D] -> the mean after the event [B, D]."""
        weight = torch.sigmoid(self.logit)
        return (1 - weight) * state + weight * values
