"""CPU path: gates and recurrence block by block along time, so that the gates' temporaries stay in the cache."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deployrec_kernels.linear_recurrence.cpu import scan, scan_backward, time_slices, zero_padding
from deployrec_kernels.rows import check_rows, pack_rows, pad_rows, state_dtype, time_blocks


class Gates(NamedTuple):
    """The gates of a block [B, t, D]: sigmoids, decay alpha, and root = sqrt(1 - alpha^2 + 1e-8)."""

    r: Tensor
    i: Tensor
    alpha: Tensor
    root: Tensor


def bd_lru_cpu(
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """(hidden like x, final_state [B, D]); see op.py for the arguments."""
    check_rows(lengths, cu_seqlens, x.shape[0 if cu_seqlens is not None else 1])
    dtype = state_dtype(x.dtype)
    inputs = [pad_rows(tensor, lengths) for tensor in (x, r, i)] if cu_seqlens is not None else [x, r, i]
    rate = F.softplus(lambda_.to(dtype))
    hidden = torch.empty(inputs[0].shape, dtype=dtype)
    state = initial_state
    for block in time_blocks(hidden):
        x_block, r_block, i_block = (tensor[:, block].to(dtype) for tensor in inputs)
        gates = _gates(r_block, i_block, rate)
        left = (lengths - block.start).clamp(0, x_block.shape[1])
        b = gates.root.mul_(gates.i).mul_(x_block)
        state = scan(time_slices(gates.alpha, left, 1.0), time_slices(b, left, 0.0), state, hidden[:, block].unbind(1))
    if cu_seqlens is not None:
        hidden = pack_rows(hidden, lengths)
    return hidden.to(x.dtype), state.clone()


def bd_lru_backward_cpu(
    grad_hidden: Tensor,
    grad_final: Tensor,
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    cu_seqlens: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(grad_x, grad_r, grad_i like x; grad_lambda [D]; grad_initial_state [B, D]). The gates are computed again."""
    dtype = state_dtype(x.dtype)
    inputs = [grad_hidden, x, r, i, hidden]
    if cu_seqlens is not None:
        inputs = [pad_rows(tensor, lengths) for tensor in inputs]
    rate = F.softplus(lambda_.to(dtype))
    grads = [torch.empty(inputs[0].shape, dtype=x.dtype) for _ in range(3)]
    grad_rate = torch.zeros_like(rate)
    grad_state = grad_final
    for block in reversed(time_blocks(inputs[0])):
        grad_block, x_block, r_block, i_block, hidden_block = (tensor[:, block].to(dtype) for tensor in inputs)
        before = inputs[4][:, block.start - 1].to(dtype) if block.start else initial_state
        gates = _gates(r_block, i_block, rate)
        left = (lengths - block.start).clamp(0, x_block.shape[1])
        g = torch.empty_like(gates.alpha)
        grad_state = scan_backward(time_slices(gates.alpha, left, 1.0), grad_block, grad_state, g)
        previous = torch.cat((before.unsqueeze(1), hidden_block[:, :-1]), 1)
        block_grads, grad_r_gate = _gate_gradients(g, x_block, previous, gates, rate)
        for grad, block_grad in zip(grads, block_grads, strict=True):
            zero_padding(block_grad, left)
            grad[:, block] = block_grad
        zero_padding(grad_r_gate, left)
        grad_rate += grad_r_gate.sum((0, 1))
    if cu_seqlens is not None:
        grads = [pack_rows(grad, lengths) for grad in grads]
    grad_lambda = (grad_rate * torch.sigmoid(lambda_.to(dtype))).to(lambda_.dtype)
    return grads[0], grads[1], grads[2], grad_lambda, grad_state.clone()


def _gates(r: Tensor, i: Tensor, rate: Tensor) -> Gates:
    r = torch.sigmoid(r)
    exponent = r * rate
    root = torch.expm1(exponent * -2).neg_().add_(1e-8).sqrt_()
    return Gates(r, torch.sigmoid(i), exponent.neg_().exp_(), root)


def _gate_gradients(
    g: Tensor, x: Tensor, previous: Tensor, gates: Gates, rate: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
    """Gradients of (x, r, i) of a block, and the per-event gradient of the rate; g: gradient of the states."""
    g_gated = g * gates.i
    grad_x = g_gated * gates.root
    grad_i = grad_x * x * (1 - gates.i)
    grad_alpha = torch.addcdiv(g * previous, g_gated * x * gates.alpha, gates.root, value=-1)
    grad_rate = grad_alpha.mul_(gates.alpha).mul_(gates.r).neg_()
    grad_r = grad_rate * rate * (1 - gates.r)
    return (grad_x, grad_r, grad_i), grad_rate
