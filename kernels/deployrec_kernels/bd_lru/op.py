"""The operator `deployrec::bd_lru` and its public function."""

from __future__ import annotations

import torch
from torch import Tensor

from deployrec_kernels.bd_lru.step import bd_lru_coefficients
from deployrec_kernels.linear_recurrence.op import linear_recurrence
from deployrec_kernels.operator import Operator
from deployrec_kernels.rows import promote, row_arguments, same_shapes, state_dtype

OPERATOR = Operator("bd_lru", inputs={name: name for name in ("x", "r", "i", "lambda_")})


def bd_lru(
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    initial_state: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """RecBLR's gated recurrence (Liu et al., CIKM 2024, behaviour-dependent linear recurrent unit).

        alpha = exp(-softplus(lambda) * sigmoid(r)),  beta = sqrt((1 - alpha)(1 + alpha) + 1e-8) * sigmoid(i)
        h_t   = alpha_t * h_{t-1} + beta_t * x_t

    x, r, i: [B, T, D] float32, bfloat16 or float64, r and i before the sigmoid.
    lambda_: [D], any float dtype; used in the state's dtype.
    initial_state, lengths, the returned (hidden, final_state) and the errors: as `linear_recurrence`.
    Differentiable in x, r, i, lambda_ and initial_state; the backward computes the gates again instead of storing them.
    """
    same_shapes(x=x, r=r, i=i)
    if lambda_.shape != x.shape[-1:]:
        raise ValueError(
            f"expected lambda_ of shape {list(x.shape[-1:])}; got {list(lambda_.shape)}; give one value per channel"
        )
    x, r, i = promote(x, r, i)
    lambda_ = lambda_.to(state_dtype(x.dtype))
    if torch.compiler.is_exporting():  # other runtimes know the linear recurrence alone; the gates go in front of it
        return linear_recurrence(*bd_lru_coefficients(x, r, i, lambda_), initial_state, lengths)
    return OPERATOR(x, r, i, lambda_, *row_arguments(x, 3, x.shape[-1:], initial_state, lengths))
