"""One event of the bias-free GRU on input products; T of them are `gru`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gru_step(gates: Tensor, recurrent_weight: Tensor, state: Tensor) -> Tensor:
    """h' = (1 - z) n + z h, n = tanh(g_n + r (h U_n^T)); gates [B, 3D], recurrent_weight [3D, D], both r, z, n."""
    size = state.shape[-1]
    input_rz, input_n = gates.split((2 * size, size), -1)
    state_rz, state_n = F.linear(state, recurrent_weight).split((2 * size, size), -1)
    r, z = torch.sigmoid(input_rz + state_rz).chunk(2, -1)
    n = torch.tanh(input_n + r * state_n)
    return n + z * (state - n)
