"""torch's own GRU on ready-made input products, for widths whose recurrent weight does not stay on a GPU's chip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from deployrec_kernels.rows import padding_mask


def torch_gru(gates: Tensor, recurrent_weight: Tensor, initial_state: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """As `gru`; torch multiplies its input by a matrix, here the identity.

    The state is carried in the dtype of the gates and only returned in float32. float32 products are rounded to tf32
    only where the user allowed that for products in general; cuDNN alone would do so unasked.
    """
    time = gates.shape[1]
    if time == 0:
        return gates.new_empty(gates.shape[0], 0, recurrent_weight.shape[1]), initial_state.clone()
    padding = padding_mask(lengths, time)
    hidden = _Gru.apply(gates.masked_fill(padding, 0.0), recurrent_weight, initial_state.to(gates.dtype))
    states = torch.cat((initial_state.unsqueeze(1), hidden.to(initial_state.dtype)), 1)
    final = states[torch.arange(states.shape[0], device=states.device), lengths]
    return torch.where(padding, final.unsqueeze(1).to(hidden.dtype), hidden), final


class _Gru(torch.autograd.Function):
    """torch.gru whose gradient, too, is computed at the precision that the user chose."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        train = any(ctx.needs_input_grad)
        with torch.set_grad_enabled(train), _chosen_precision():
            gates, weight, state = leaves = [x.detach().requires_grad_(train) for x in inputs]
            weights = (torch.eye(gates.shape[-1], dtype=gates.dtype, device=gates.device), weight)
            hidden, _ = torch.gru(gates, state.unsqueeze(0), weights, False, 1, 0.0, train, False, True)
        ctx.save_for_backward(hidden, *leaves)
        return hidden.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor) -> tuple[Tensor, ...]:
        hidden, *leaves = ctx.saved_tensors
        with _chosen_precision():
            return torch.autograd.grad(hidden, leaves, grad_hidden)


@contextmanager
def _chosen_precision() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    cudnn.allow_tf32 = torch.get_float32_matmul_precision() != "highest"
    try:
        yield
    finally:
        cudnn.allow_tf32 = before
