"""One event of the bias-free GRU on input products; T of them are `gru`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gru_step(gates: Tensor, recurrent_weight: Tensor, state: Tensor) -> Tensor:
    """h' = (1 - z) n + z h, n = tanh(g_n + r (h U_n^T)); gates [B, 3D], recurrent_weight [3D, D], both r, z, n."""
    input_r, input_z, input_n = gates.chunk(3, -1)
    state_r, state_z, state_n = F.linear(state, recurrent_weight).chunk(3, -1)
    r, z = torch.sigmoid(input_r + state_r), torch.sigmoid(input_z + state_z)
    n = torch.tanh(input_n + r * state_n)
    return n + z * (state - n)
