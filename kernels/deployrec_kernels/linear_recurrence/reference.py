"""The definition, one line of arithmetic per step, any dtype; what every faster path is measured against."""

from __future__ import annotations

import torch
from torch import Tensor


def linear_recurrence_reference(
    a: Tensor, b: Tensor, initial_state: Tensor | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """h_t = a_t h_{t-1} + b_t for t < lengths, h_t = h_{t-1} behind; a, b [B, T, D] -> hidden [B, T, D], [B, D]."""
    batch, time, channels = b.shape
    hidden = b.new_zeros(batch, channels) if initial_state is None else initial_state
    steps = []
    for t in range(time):
        following = a[:, t] * hidden + b[:, t]
        hidden = following if lengths is None else torch.where((t < lengths)[:, None], following, hidden)
        steps.append(hidden)
    return torch.stack(steps, 1) if steps else b.clone(), hidden
