"""CPU path: gates and recurrence block by block along time, so that the gates' temporaries stay in the cache."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deployrec_kernels.linear_recurrence.cpu import scan, scan_backward, time_slices, zero_padding
from deployrec_kernels.rows import check_lengths, state_dtype, time_blocks


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
) -> tuple[Tensor, Tensor]:
    """(hidden like x, final_state [B, D]); see op.py for the arguments."""
    check_lengths(lengths, x.shape[1])
    dtype = state_dtype(x.dtype)
    rate = F.softplus(lambda_.to(dtype))
    hidden = torch.empty(x.shape, dtype=dtype, device=x.device)
    state = initial_state
    for block in time_blocks(hidden):
        x_block, r_block, i_block = (tensor[:, block].to(dtype) for tensor in (x, r, i))
        gates = _gates(r_block, i_block, rate)
        left = (lengths - block.start).clamp(0, x_block.shape[1])
        b = gates.root.mul_(gates.i).mul_(x_block)
        state = scan(time_slices(gates.alpha, left, 1.0), time_slices(b, left, 0.0), state, hidden[:, block].unbind(1))
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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(grad_x, grad_r, grad_i like x; grad_lambda [D]; grad_initial_state [B, D]). The gates are computed again."""
    dtype = state_dtype(x.dtype)
    inputs = [grad_hidden, x, r, i, hidden]
    rate = F.softplus(lambda_.to(dtype))
    grads = [torch.empty(inputs[0].shape, dtype=x.dtype, device=x.device) for _ in range(3)]
    grad_rate = torch.zeros_like(rate)
    grad_state = grad_final
    for block in reversed(time_blocks(inputs[0])):
        grad_block, x_block, r_block, i_block = (tensor[:, block].to(dtype) for tensor in inputs[:4])
        previous = inputs[4][:, block.start - 1 : block.stop - 1].to(dtype) if block.start else None
        if previous is None:
            previous = torch.cat((initial_state.unsqueeze(1), inputs[4][:, : block.stop - 1].to(dtype)), 1)
        gates = _gates(r_block, i_block, rate)
        left = (lengths - block.start).clamp(0, x_block.shape[1])
        g = torch.empty_like(gates.alpha)
        grad_state = scan_backward(time_slices(gates.alpha, left, 1.0), grad_block, grad_state, g)
        *block_grads, by_rate = _gate_gradients(g, x_block, previous, gates, rate)
        for grad, block_grad in zip(grads, block_grads, strict=True):
            grad[:, block] = block_grad
        zero_padding(by_rate, left)
        grad_rate += by_rate.sum((0, 1))
    for grad in grads:
        zero_padding(grad, lengths)
    grad_lambda = (grad_rate * torch.sigmoid(lambda_.to(dtype))).to(lambda_.dtype)
    return grads[0], grads[1], grads[2], grad_lambda, grad_state.clone()


def _gates(r: Tensor, i: Tensor, rate: Tensor) -> Gates:
    r, i = (x.clone(memory_format=torch.contiguous_format).sigmoid_() for x in (r, i))
    below_one = (r * -rate).expm1_()  # alpha - 1 with all its digits, which 1 - alpha^2 needs
    root = (below_one + 2).mul_(below_one).neg_().add_(1e-8).sqrt_()
    return Gates(r, i, below_one.add_(1), root)


def _gate_gradients(
    g: Tensor, x: Tensor, previous: Tensor, gates: Gates, rate: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of (x, r, i) of a block, and the per-event gradient of the rate; g: gradient of the states."""
    gated = g * gates.i
    grad_x = gated * gates.root
    gated.mul_(x)
    grad_i = gated * gates.root
    grad_i.addcmul_(grad_i, gates.i, value=-1)
    by_rate = gated.mul_(gates.alpha).div_(gates.root).addcmul_(g, previous, value=-1)
    by_rate.mul_(gates.alpha).mul_(gates.r)
    grad_r = by_rate * rate
    grad_r.addcmul_(grad_r, gates.r, value=-1)
    return grad_x, grad_r, grad_i, by_rate
