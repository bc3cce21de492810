"""The operator `deployrec::linear_recurrence` and its public function."""

from __future__ import annotations

from torch import Tensor

from deployrec_kernels.operator import Operator
from deployrec_kernels.rows import promote, row_arguments, same_shapes

OPERATOR = Operator("linear_recurrence", inputs={"a": "a", "b": "a"})


def linear_recurrence(
    a: Tensor, b: Tensor, initial_state: Tensor | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """h_t = a_t * h_{t-1} + b_t, elementwise; differentiable in a, b and initial_state.

    a, b: [B, T, D] float32, bfloat16 or float64. Mixed dtypes are promoted.
    initial_state: [B, D], zeros by default; the state is float32 for every input but float64.
    lengths: [B] int64, events per right-padded row; behind them the state is kept and the input never read into it.
    Returns hidden (shape and dtype of b) and the final state [B, D]. Raises ValueError on shapes that do not fit.

        hidden, final = linear_recurrence(torch.ones(2, 5, 8), x)  # the running sum of x over time
    """
    same_shapes(a=a, b=b)
    a, b = promote(a, b)
    return OPERATOR(a, b, *row_arguments(b, 3, b.shape[-1:], initial_state, lengths))
