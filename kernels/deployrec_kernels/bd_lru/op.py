"""The operator `deployrec::bd_lru`: arguments, shapes for tracing, gradient, and the public function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deployrec_kernels.bd_lru.cpu import bd_lru_backward_cpu, bd_lru_cpu
from deployrec_kernels.launch import has_triton
from deployrec_kernels.rows import promote, row_arguments, same_shapes, state_dtype


def bd_lru(
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    initial_state: Tensor | None = None,
    lengths: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """RecBLR's gated recurrence (Liu et al., CIKM 2024, behaviour-dependent linear recurrent unit).

        alpha = exp(-softplus(lambda) * sigmoid(r)),  beta = sqrt((1 - alpha)(1 + alpha) + 1e-8) * sigmoid(i)
        h_t   = alpha_t * h_{t-1} + beta_t * x_t

    x, r, i: [B, T, D] float32, bfloat16 or float64, r and i before the sigmoid; or [total, D] rows with cu_seqlens.
    lambda_: [D], any float dtype; used in the state's dtype.
    initial_state, lengths, cu_seqlens, the returned (hidden, final_state) and the errors: as `linear_recurrence`.
    Differentiable in x, r, i, lambda_ and initial_state; the backward computes the gates again instead of storing them.
    """
    same_shapes(x=x, r=r, i=i)
    if lambda_.shape != x.shape[-1:]:
        raise ValueError(
            f"expected lambda_ of shape {list(x.shape[-1:])}; got {list(lambda_.shape)}; give one value per channel"
        )
    x, r, i = promote(x, r, i)
    initial_state, lengths, cu_seqlens = row_arguments(x, x.shape[-1:], initial_state, lengths, cu_seqlens, row_dims=1)
    lambda_ = lambda_.to(state_dtype(x.dtype))
    return torch.ops.deployrec.bd_lru(x, r, i, lambda_, initial_state, lengths, cu_seqlens)


@torch.library.custom_op("deployrec::bd_lru", mutates_args=(), device_types="cpu")
def forward(
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    return bd_lru_cpu(x, r, i, lambda_, initial_state, lengths, cu_seqlens)


@forward.register_fake
def _(
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(initial_state.shape, dtype=state_dtype(x.dtype))


@torch.library.custom_op("deployrec::bd_lru_backward", mutates_args=(), device_types="cpu")
def backward(
    grad_hidden: Tensor,
    grad_final: Tensor,
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return bd_lru_backward_cpu(grad_hidden, grad_final, x, r, i, lambda_, hidden, initial_state, lengths, cu_seqlens)


@backward.register_fake
def _(
    grad_hidden: Tensor,
    grad_final: Tensor,
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    events = [x.new_empty(x.shape) for _ in range(3)]
    return (
        events[0],
        events[1],
        events[2],
        lambda_.new_empty(lambda_.shape),
        initial_state.new_empty(initial_state.shape),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, r, i, lambda_, initial_state, lengths, cu_seqlens = inputs
    ctx.save_for_backward(x, r, i, lambda_, output[0], initial_state, lengths, cu_seqlens)


def _gradients(ctx: Any, grad_hidden: Tensor, grad_final: Tensor) -> tuple[Tensor | None, ...]:
    grads = torch.ops.deployrec.bd_lru_backward(grad_hidden, grad_final, *ctx.saved_tensors)
    return *grads, None, None


forward.register_autograd(_gradients, setup_context=_setup_context)


def use_triton(device_type: str) -> None:
    """Runs the operator on this device type through the Triton kernels."""

    def run(*arguments: Any) -> tuple[Tensor, Tensor]:
        from deployrec_kernels.bd_lru.triton import bd_lru_triton

        return bd_lru_triton(*arguments)

    def run_backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        from deployrec_kernels.bd_lru.triton import bd_lru_backward_triton

        return bd_lru_backward_triton(*arguments)

    forward.register_kernel(device_type, run)
    backward.register_kernel(device_type, run_backward)


if has_triton():
    use_triton("cuda")
else:
    forward.register_kernel("cuda", bd_lru_cpu)
    backward.register_kernel("cuda", bd_lru_backward_cpu)
