"""The definition of the bias-free GRU on input products, one step after the other, any dtype."""

from __future__ import annotations

from torch import Tensor

from deployrec_kernels.gru.step import gru_step
from deployrec_kernels.reference import unroll


def gru_reference(
    gates: Tensor, recurrent_weight: Tensor, initial_state: Tensor | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`gru_step` for t < lengths; gates [B, T, 3D], recurrent_weight [3D, D] -> hidden [B, T, D], final [B, D]."""
    state = gates.new_zeros(gates.shape[0], recurrent_weight.shape[1]) if initial_state is None else initial_state
    return unroll(lambda gates_t, h: gru_step(gates_t, recurrent_weight, h), (gates,), state, lengths)
