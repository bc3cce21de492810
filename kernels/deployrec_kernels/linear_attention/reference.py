"""The definition, one step at a time, any dtype."""

from __future__ import annotations

import torch
from torch import Tensor


def linear_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, initial_state: Tensor | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = S_{t-1} + k_t^T v_t, out_t = q_t S_t, 0 at padding; q, k, v [B, T, H, dh] -> out, S [B, H, dh, dh]."""
    batch, time, heads, width = q.shape
    state = q.new_zeros(batch, heads, width, width) if initial_state is None else initial_state
    steps = []
    for t in range(time):
        following = state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        out = (q[:, t].unsqueeze(-2) @ following).squeeze(-2)
        if lengths is not None:
            active = (t < lengths)[:, None, None]
            following = torch.where(active.unsqueeze(-1), following, state)
            out = torch.where(active, out, torch.zeros_like(out))
        state = following
        steps.append(out)
    return torch.stack(steps, 1) if steps else torch.zeros_like(v), state
