"""The operator `deployrec::linear_recurrence`: arguments, shapes for tracing, gradient, and the public function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deployrec_kernels.launch import has_triton
from deployrec_kernels.linear_recurrence.cpu import linear_recurrence_backward_cpu, linear_recurrence_cpu
from deployrec_kernels.rows import promote, row_arguments, same_shapes, state_dtype


def linear_recurrence(
    a: Tensor,
    b: Tensor,
    initial_state: Tensor | None = None,
    lengths: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """h_t = a_t * h_{t-1} + b_t, elementwise; differentiable in a, b and initial_state.

    a, b: [B, T, D] float32, bfloat16 or float64; or [total, D] packed rows with cu_seqlens. Mixed dtypes are promoted.
    initial_state: [B, D], zeros by default; the state is float32 for every input but float64.
    lengths: [B] int64, events per right-padded row; behind them the state is kept and the input never read into it.
    cu_seqlens: [B + 1] int64, where packed rows start and end.
    Returns hidden (shape and dtype of b) and the final state [B, D]. Raises ValueError on shapes that do not fit.
    """
    same_shapes(a=a, b=b)
    a, b = promote(a, b)
    initial_state, lengths, cu_seqlens = row_arguments(b, b.shape[-1:], initial_state, lengths, cu_seqlens, row_dims=1)
    return torch.ops.deployrec.linear_recurrence(a, b, initial_state, lengths, cu_seqlens)


@torch.library.custom_op("deployrec::linear_recurrence", mutates_args=(), device_types="cpu")
def forward(
    a: Tensor, b: Tensor, initial_state: Tensor, lengths: Tensor, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    return linear_recurrence_cpu(a, b, initial_state, lengths, cu_seqlens)


@forward.register_fake
def _(
    a: Tensor, b: Tensor, initial_state: Tensor, lengths: Tensor, cu_seqlens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    return b.new_empty(b.shape), b.new_empty(initial_state.shape, dtype=state_dtype(b.dtype))


@torch.library.custom_op("deployrec::linear_recurrence_backward", mutates_args=(), device_types="cpu")
def backward(
    grad_hidden: Tensor,
    grad_final: Tensor,
    a: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    return linear_recurrence_backward_cpu(grad_hidden, grad_final, a, hidden, initial_state, lengths, cu_seqlens)


@backward.register_fake
def _(
    grad_hidden: Tensor,
    grad_final: Tensor,
    a: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    return a.new_empty(a.shape), a.new_empty(a.shape), initial_state.new_empty(initial_state.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    a, _, initial_state, lengths, cu_seqlens = inputs
    ctx.save_for_backward(a, output[0], initial_state, lengths, cu_seqlens)


def _gradients(ctx: Any, grad_hidden: Tensor, grad_final: Tensor) -> tuple[Tensor | None, ...]:
    grads = torch.ops.deployrec.linear_recurrence_backward(grad_hidden, grad_final, *ctx.saved_tensors)
    return *grads, None, None


forward.register_autograd(_gradients, setup_context=_setup_context)


def use_triton(device_type: str) -> None:
    """Runs the operator on this device type through the Triton kernels."""

    def run(*arguments: Any) -> tuple[Tensor, Tensor]:
        from deployrec_kernels.linear_recurrence.triton import linear_recurrence_triton

        return linear_recurrence_triton(*arguments)

    def run_backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        from deployrec_kernels.linear_recurrence.triton import linear_recurrence_backward_triton

        return linear_recurrence_backward_triton(*arguments)

    forward.register_kernel(device_type, run)
    backward.register_kernel(device_type, run_backward)


if has_triton():
    use_triton("cuda")
else:
    forward.register_kernel("cuda", linear_recurrence_cpu)
    backward.register_kernel("cuda", linear_recurrence_backward_cpu)
