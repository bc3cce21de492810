"""The definition of the behaviour-dependent linear recurrent unit, any dtype."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deployrec_kernels.linear_recurrence.reference import linear_recurrence_reference


def bd_lru_reference(
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    initial_state: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """alpha = exp(-softplus(lambda) sigmoid(r)), beta = sqrt(1 - alpha^2 + 1e-8) sigmoid(i), h = alpha h + beta x."""
    alpha = torch.exp(-F.softplus(lambda_) * torch.sigmoid(r))
    beta = torch.sqrt((1 - alpha) * (1 + alpha) + 1e-8) * torch.sigmoid(i)
    return linear_recurrence_reference(alpha, beta * x, initial_state, lengths)
