"""The definition, one step after the other, any dtype."""

from __future__ import annotations

from torch import Tensor

from deployrec_kernels.linear_recurrence.step import linear_recurrence_step
from deployrec_kernels.reference import unroll


def linear_recurrence_reference(
    a: Tensor, b: Tensor, initial_state: Tensor | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """h_t = a_t h_{t-1} + b_t for t < lengths, h_t = h_{t-1} behind; a, b [B, T, D] -> hidden [B, T, D], [B, D]."""
    state = b.new_zeros(b.shape[0], b.shape[2]) if initial_state is None else initial_state
    return unroll(linear_recurrence_step, (a, b), state, lengths)
