"""One event of the behaviour-dependent linear recurrent unit; T of them are `bd_lru`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deployrec_kernels.linear_recurrence.step import linear_recurrence_step


def bd_lru_step(x: Tensor, r: Tensor, i: Tensor, lambda_: Tensor, state: Tensor) -> Tensor:
    """h = alpha * state + beta * x; x, r, i and state [B, D], lambda_ [D]."""
    return linear_recurrence_step(*bd_lru_coefficients(x, r, i, lambda_), state)


def bd_lru_coefficients(x: Tensor, r: Tensor, i: Tensor, lambda_: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, beta * x) of the linear recurrence that the unit is, like x [..., D].

    alpha = exp(-softplus(lambda) sigmoid(r)), beta = sqrt(1 - alpha^2 + 1e-8) sigmoid(i).
    """
    decay = -F.softplus(lambda_) * torch.sigmoid(r)
    # 1 - alpha^2 = -2 softsign(tanh(log alpha)) keeps the digits that 1 - alpha^2 loses where alpha is nearly 1; under
    # the root it is scaled, so that no exporter can take the 1e-8 for a zero and drop it.
    root = 1e-4 * torch.sqrt(-2e8 * F.softsign(torch.tanh(decay)) + 1)
    return torch.exp(decay), root * torch.sigmoid(i) * x
