"""The definition of the behaviour-dependent linear recurrent unit, one step after the other, any dtype."""

from __future__ import annotations

from torch import Tensor

from deployrec_kernels.bd_lru.step import bd_lru_step
from deployrec_kernels.reference import unroll


def bd_lru_reference(
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    initial_state: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h_t = alpha_t h_{t-1} + beta_t x_t with the coefficients of `bd_lru_step`; x, r, i [B, T, D], lambda_ [D]."""
    state = x.new_zeros(x.shape[0], x.shape[2]) if initial_state is None else initial_state
    return unroll(lambda x_t, r_t, i_t, h: bd_lru_step(x_t, r_t, i_t, lambda_, h), (x, r, i), state, lengths)
