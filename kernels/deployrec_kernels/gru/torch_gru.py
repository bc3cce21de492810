"""torch's own GRU on ready-made input products, for widths whose recurrent weight does not stay on a GPU's chip."""

from __future__ import annotations

import torch
from torch import Tensor

from deployrec_kernels.rows import padding_mask


def torch_gru(gates: Tensor, recurrent_weight: Tensor, initial_state: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """As `gru`, differentiated by torch; torch multiplies its input by a matrix, here the identity.

    The state is carried in the dtype of the gates and only returned in float32.
    """
    time = gates.shape[1]
    if time == 0:
        return gates.new_empty(gates.shape[0], 0, recurrent_weight.shape[1]), initial_state.clone()
    padding = padding_mask(lengths, time)
    identity = torch.eye(gates.shape[-1], dtype=gates.dtype, device=gates.device)
    hidden, _ = torch.gru(
        gates.masked_fill(padding, 0.0),
        initial_state.to(gates.dtype).unsqueeze(0),
        (identity, recurrent_weight),
        has_biases=False,
        num_layers=1,
        dropout=0.0,
        train=torch.is_grad_enabled(),
        bidirectional=False,
        batch_first=True,
    )
    states = torch.cat((initial_state.unsqueeze(1), hidden.to(initial_state.dtype)), 1)
    final = states[torch.arange(states.shape[0], device=states.device), lengths]
    return torch.where(padding, final.unsqueeze(1).to(hidden.dtype), hidden), final
