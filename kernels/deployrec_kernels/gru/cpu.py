"""CPU path: one matrix product and a few fused elementwise operations per step; the weight gradient is one product."""

from __future__ import annotations

import torch
from torch import Tensor

from deployrec_kernels.linear_recurrence.cpu import zero_padding
from deployrec_kernels.rows import check_lengths, padding_mask, state_dtype, time_blocks


@torch.autocast("cpu", enabled=False)
def gru_cpu(gates: Tensor, recurrent_weight: Tensor, initial_state: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(hidden [B, T, D], final_state [B, D]); see op.py for the arguments."""
    check_lengths(lengths, gates.shape[1])
    output_dtype = gates.dtype
    gates = gates.to(state_dtype(output_dtype))
    channels = recurrent_weight.shape[1]
    weight = recurrent_weight.to(gates.dtype).T.contiguous()
    hidden = torch.empty((*gates.shape[:2], channels), dtype=gates.dtype, device=gates.device)
    state = initial_state
    full = int(lengths.min()) if lengths.numel() else 0
    kept = padding_mask(lengths, gates.shape[1], full).unbind(1)
    for t, (gates_t, out) in enumerate(zip(gates.unbind(1), hidden.unbind(1), strict=True)):
        products = state @ weight
        r_z = products[:, : 2 * channels].add_(gates_t[:, : 2 * channels]).sigmoid_()
        r, z = r_z[:, :channels], r_z[:, channels:]
        n = torch.addcmul(gates_t[:, 2 * channels :], r, products[:, 2 * channels :]).tanh_()
        following = torch.lerp(n, state, z, out=out)
        if t >= full:
            torch.where(kept[t - full], state, following, out=out)
        state = out
    return hidden.to(output_dtype), state.clone()


@torch.autocast("cpu", enabled=False)
def gru_backward_cpu(
    grad_hidden: Tensor,
    grad_final: Tensor,
    gates: Tensor,
    recurrent_weight: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """(grad_gates like gates, grad_recurrent_weight, grad_initial_state). The gates' values are computed again."""
    dtype = state_dtype(gates.dtype)
    inputs = [gates, hidden, grad_hidden]
    weight = recurrent_weight.to(dtype)
    grad_gates = torch.empty(inputs[0].shape, dtype=gates.dtype, device=gates.device)
    grad_weight = torch.zeros_like(weight)
    grad = grad_final
    for block in reversed(time_blocks(inputs[1])):
        gates_block, hidden_block, grad_block = (x[:, block].to(dtype) for x in inputs)
        before = inputs[1][:, block.start - 1].to(dtype) if block.start else initial_state
        previous = torch.cat((before.unsqueeze(1), hidden_block[:, :-1]), 1)
        left = (lengths - block.start).clamp(0, gates_block.shape[1])
        by_product, by_candidate, z = _derivatives(gates_block, weight, previous, left)
        totals = torch.empty_like(previous)
        for step, total, product, z_t in zip(
            *(x.unbind(1)[::-1] for x in (grad_block, totals, by_product, z)), strict=True
        ):
            torch.add(grad, step, out=total)
            product.mul_(total.unsqueeze(1))
            grad = torch.addmm(total * z_t, product.flatten(1), weight)
        grad_weight.addmm_(by_product.flatten(0, 1).flatten(1).T, previous.flatten(0, 1))
        by_product[:, :, 2] = by_candidate.mul_(totals)
        grad_gates[:, block] = by_product.flatten(2)
    return grad_gates, grad_weight.to(recurrent_weight.dtype), grad.clone()


def _derivatives(gates: Tensor, weight: Tensor, previous: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of h_t: by the three recurrent products [B, t, 3, D], by the candidate's input g_n [B, t, D], and z.

    At padding they are 0, 0 and 1: the state is kept.
    """
    channels = weight.shape[1]
    products = previous @ weight.T
    r_z = torch.sigmoid(gates[..., : 2 * channels] + products[..., : 2 * channels])
    r, z = r_z[..., :channels], r_z[..., channels:]
    u_n = products[..., 2 * channels :]
    n = torch.addcmul(gates[..., 2 * channels :], r, u_n).tanh_()
    by_candidate = (1 - z) * (1 - n * n)
    by_product = torch.stack((by_candidate * u_n * r * (1 - r), (previous - n) * z * (1 - z), by_candidate * r), 2)
    zero_padding(by_product.flatten(2), lengths)
    zero_padding(by_candidate, lengths)
    full = int(lengths.min()) if lengths.numel() else 0
    z[:, full:].masked_fill_(padding_mask(lengths, z.shape[1], full), 1.0)
    return by_product, by_candidate, z
