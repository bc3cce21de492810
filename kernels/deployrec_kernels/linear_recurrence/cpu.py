"""CPU path: one addcmul per time step on [B, D] slices; log-depth scans move several times the memory."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from deployrec_kernels.rows import check_lengths, padding_mask, state_dtype


def linear_recurrence_cpu(a: Tensor, b: Tensor, initial_state: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(hidden like b, final_state [B, D]); see op.py for the arguments."""
    check_lengths(lengths, b.shape[1])
    dtype = b.dtype
    a, b = a.to(state_dtype(dtype)), b.to(state_dtype(dtype))
    hidden = torch.empty(b.shape, dtype=b.dtype, device=b.device)
    final = scan(time_slices(a, lengths, 1.0), time_slices(b, lengths, 0.0), initial_state, hidden.unbind(1)).clone()
    return hidden.to(dtype), final


def linear_recurrence_backward_cpu(
    grad_hidden: Tensor,
    grad_final: Tensor,
    a: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """(grad_a, grad_b like a; grad_initial_state [B, D])."""
    dtype = a.dtype
    a, hidden, grad_hidden = (x.to(state_dtype(dtype)) for x in (a, hidden, grad_hidden))
    grad_b = torch.empty(a.shape, dtype=a.dtype, device=a.device)
    grad_initial = scan_backward(time_slices(a, lengths, 1.0), grad_hidden, grad_final, grad_b)
    zero_padding(grad_b, lengths)
    grad_a = torch.empty_like(grad_b)
    if a.shape[1]:
        torch.mul(grad_b[:, 1:], hidden[:, :-1], out=grad_a[:, 1:])
        torch.mul(grad_b[:, 0], initial_state, out=grad_a[:, 0])
    return grad_a.to(dtype), grad_b.to(dtype), grad_initial


def scan(a: Iterable[Tensor], b: Iterable[Tensor], state: Tensor, outputs: Iterable[Tensor]) -> Tensor:
    """state <- a_t * state + b_t, each into its output; all [B, D]. Returns the last state (the last output itself)."""
    for a_t, b_t, out in zip(a, b, outputs, strict=True):
        state = torch.addcmul(b_t, a_t, state, out=out)
    return state


def scan_backward(a: list[Tensor], grad_hidden: Tensor, grad_final: Tensor, grad_b: Tensor) -> Tensor:
    """g_t = grad_hidden_t + a_{t+1} g_{t+1}, from grad_final down, into grad_b [B, T, D]; returns a_0 g_0."""
    if not a:
        return grad_final.clone()
    backwards = grad_hidden.unbind(1)[::-1]
    outputs = grad_b.unbind(1)[::-1]
    last = torch.add(backwards[0], grad_final, out=outputs[0])
    return a[0] * scan(a[:0:-1], backwards[1:], last, outputs[1:])


def time_slices(x: Tensor, lengths: Tensor, at_padding: float) -> list[Tensor]:
    """The T slices [B, D] of x with its padding replaced; only the ragged end is copied."""
    full = int(lengths.min()) if lengths.numel() else x.shape[1]
    if full == x.shape[1]:
        return list(x.unbind(1))
    ragged_end = x[:, full:].masked_fill(padding_mask(lengths, x.shape[1], full), at_padding)
    return [*x[:, :full].unbind(1), *ragged_end.unbind(1)]


def zero_padding(x: Tensor, lengths: Tensor) -> None:
    """Sets x [B, T, D] to 0 behind each row, in place."""
    full = int(lengths.min()) if lengths.numel() else x.shape[1]
    if full < x.shape[1]:
        x[:, full:].masked_fill_(padding_mask(lengths, x.shape[1], full), 0.0)
