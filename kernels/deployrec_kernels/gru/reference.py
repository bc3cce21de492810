"""The definition of the bias-free GRU on input products, any dtype."""

from __future__ import annotations

import torch
from torch import Tensor


def gru_reference(
    gates: Tensor, recurrent_weight: Tensor, initial_state: Tensor | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """h' = (1 - z) n + z h, n = tanh(g_n + r (h U_n^T)); gates [B, T, 3D], recurrent_weight [3D, D], both r, z, n."""
    batch, time, _ = gates.shape
    channels = recurrent_weight.shape[1]
    hidden = gates.new_zeros(batch, channels) if initial_state is None else initial_state
    steps = []
    for t in range(time):
        g_r, g_z, g_n = gates[:, t].chunk(3, -1)
        u_r, u_z, u_n = (hidden @ recurrent_weight.T).chunk(3, -1)
        r, z = torch.sigmoid(g_r + u_r), torch.sigmoid(g_z + u_z)
        following = (1 - z) * torch.tanh(g_n + r * u_n) + z * hidden
        hidden = following if lengths is None else torch.where((t < lengths)[:, None], following, hidden)
        steps.append(hidden)
    return torch.stack(steps, 1) if steps else gates.new_empty(batch, 0, channels), hidden
