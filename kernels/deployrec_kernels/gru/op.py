"""The operator `deployrec::gru`: arguments, shapes for tracing, gradient, and the public function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deployrec_kernels.gru.cpu import gru_backward_cpu, gru_cpu
from deployrec_kernels.gru.torch_gru import torch_gru
from deployrec_kernels.launch import fits_on_chip, has_triton
from deployrec_kernels.rows import row_arguments, state_dtype


def gru(
    gates: Tensor,
    recurrent_weight: Tensor,
    initial_state: Tensor | None = None,
    lengths: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A GRU without biases on ready-made input products (GLINT-RU, Zhang et al., KDD 2025; torch's gate order).

        r, z = sigmoid(g_r + h U_r^T), sigmoid(g_z + h U_z^T);  n = tanh(g_n + r * (h U_n^T));  h' = (1 - z) n + z h

    gates: [B, T, 3D] in order r, z, n, float32, bfloat16 or float64; or [total, 3D] packed rows with cu_seqlens.
    recurrent_weight: [3D, D], torch's `weight_hh`; used in the dtype of the gates, as autocast does with a product.
    initial_state [B, D], lengths, cu_seqlens, the returned (hidden [B, T, D] or [total, D], final_state) and the
    errors: as `linear_recurrence`. Differentiable in gates, recurrent_weight and initial_state.
    """
    channels = recurrent_weight.shape[-1]
    if recurrent_weight.shape != (3 * channels, channels) or gates.shape[-1] != 3 * channels:
        raise ValueError(
            f"expected gates [..., 3D] and recurrent_weight [3D, D]; got {list(gates.shape)} and "
            f"{list(recurrent_weight.shape)}; order both r, z, n"
        )
    initial_state, lengths, cu_seqlens = row_arguments(
        gates, (channels,), initial_state, lengths, cu_seqlens, row_dims=1
    )
    recurrent_weight = recurrent_weight.to(gates.dtype)
    if gates.is_cuda and not fits_on_chip(gates.dtype, channels):
        return torch_gru(gates, recurrent_weight, initial_state, lengths, cu_seqlens)
    return torch.ops.deployrec.gru(gates, recurrent_weight, initial_state, lengths, cu_seqlens)


@torch.library.custom_op("deployrec::gru", mutates_args=(), device_types="cpu")
def forward(
    gates: Tensor,
    recurrent_weight: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    return gru_cpu(gates, recurrent_weight, initial_state, lengths, cu_seqlens)


@forward.register_fake
def _(
    gates: Tensor,
    recurrent_weight: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    hidden = gates.new_empty((*gates.shape[:-1], recurrent_weight.shape[1]))
    return hidden, gates.new_empty(initial_state.shape, dtype=state_dtype(gates.dtype))


@torch.library.custom_op("deployrec::gru_backward", mutates_args=(), device_types="cpu")
def backward(
    grad_hidden: Tensor,
    grad_final: Tensor,
    gates: Tensor,
    recurrent_weight: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    return gru_backward_cpu(
        grad_hidden, grad_final, gates, recurrent_weight, hidden, initial_state, lengths, cu_seqlens
    )


@backward.register_fake
def _(
    grad_hidden: Tensor,
    grad_final: Tensor,
    gates: Tensor,
    recurrent_weight: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    grad_weight = recurrent_weight.new_empty(recurrent_weight.shape)
    return gates.new_empty(gates.shape), grad_weight, initial_state.new_empty(initial_state.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    gates, recurrent_weight, initial_state, lengths, cu_seqlens = inputs
    ctx.save_for_backward(gates, recurrent_weight, output[0], initial_state, lengths, cu_seqlens)


def _gradients(ctx: Any, grad_hidden: Tensor, grad_final: Tensor) -> tuple[Tensor | None, ...]:
    grads = torch.ops.deployrec.gru_backward(grad_hidden, grad_final, *ctx.saved_tensors)
    return *grads, None, None


forward.register_autograd(_gradients, setup_context=_setup_context)


def use_triton(device_type: str) -> None:
    """Runs the operator on this device type through the Triton kernels."""

    def run(*arguments: Any) -> tuple[Tensor, Tensor]:
        from deployrec_kernels.gru.triton import gru_triton

        return gru_triton(*arguments)

    def run_backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        from deployrec_kernels.gru.triton import gru_backward_triton

        return gru_backward_triton(*arguments)

    forward.register_kernel(device_type, run)
    backward.register_kernel(device_type, run_backward)


if has_triton():
    use_triton("cuda")
else:
    forward.register_kernel("cuda", gru_cpu)
    backward.register_kernel("cuda", gru_backward_cpu)
