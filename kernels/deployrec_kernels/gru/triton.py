"""Triton kernels: a block walks the time of 16 rows with the recurrent weight in its registers.

Bytes an event: forward 3 D in, D out. Backward: one product recomputes h_{t-1} U^T for all events at once, the walk
then needs a single matrix product a step, and one product over all events gives the weight's gradient.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from deployrec_kernels.gru.cpu import gru_backward_cpu, gru_cpu
from deployrec_kernels.launch import device_of, events, fits_on_chip

ROWS = 16
"""Rows of a block: the smallest tile of a tensor-core product."""


def gru_triton(
    gates: Tensor,
    recurrent_weight: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
) -> tuple[Tensor, Tensor]:
    """(hidden [B, T, D], final_state [B, D]); see op.py. Widths that do not fit go step by step."""
    batch, channels = initial_state.shape
    if not fits_on_chip(gates.dtype, channels):
        return gru_cpu(gates, recurrent_weight, initial_state, lengths)
    gates, stride = events(gates)
    initial_state = initial_state.contiguous()
    hidden = torch.empty((*gates.shape[:-1], channels), dtype=gates.dtype, device=gates.device)
    final = torch.empty_like(initial_state)
    if final.numel():
        with device_of(gates):
            _forward[(triton.cdiv(batch, ROWS),)](
                gates, recurrent_weight.contiguous(), initial_state, hidden, final,
                lengths.contiguous(), gates.shape[1], batch, stride, **_config(gates, channels),
            )  # fmt: skip
    return hidden, final


def gru_backward_triton(
    grad_hidden: Tensor,
    grad_final: Tensor,
    gates: Tensor,
    recurrent_weight: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """(grad_gates like gates, grad_recurrent_weight [3D, D], grad_initial_state [B, D])."""
    batch, channels = initial_state.shape
    if not fits_on_chip(gates.dtype, channels):
        return gru_backward_cpu(grad_hidden, grad_final, gates, recurrent_weight, hidden, initial_state, lengths)
    (gates, stride), (grad_hidden, g_stride) = events(gates), events(grad_hidden)
    recurrent_weight = recurrent_weight.contiguous()
    grad_gates = torch.empty(gates.shape, dtype=gates.dtype, device=gates.device)
    grad_initial = torch.empty_like(initial_state)
    if not grad_initial.numel():
        return grad_gates, torch.zeros_like(recurrent_weight), grad_initial
    previous = _previous_states(hidden, initial_state)
    with device_of(gates), torch.autocast(gates.device.type, enabled=False):
        products = previous @ recurrent_weight.T
        _backward[(triton.cdiv(batch, ROWS),)](
            gates, products, previous, recurrent_weight, grad_hidden, grad_final.contiguous(), grad_gates, grad_initial,
            lengths.contiguous(), gates.shape[1], batch, stride, g_stride, **_config(gates, channels),
        )  # fmt: skip
        by_product = (grad_gates[..., : 2 * channels], products[..., 2 * channels :])
        flat = previous.reshape(-1, channels)
        grad_weight = torch.cat([by.reshape(-1, by.shape[-1]).T @ flat for by in by_product])
    return grad_gates, grad_weight, grad_initial


def _previous_states(hidden: Tensor, initial_state: Tensor) -> Tensor:
    """h_{t-1} of every event, in the dtype and shape of hidden."""
    return torch.cat((initial_state.to(hidden.dtype).unsqueeze(1), hidden[:, :-1]), 1)[:, : hidden.shape[1]]


def _config(gates: Tensor, channels: int) -> dict[str, Any]:
    """tf32x3 keeps float32 precision on tensor cores; tf32 where the user allowed it for products in general.

    Wide float32 blocks may use every register: their shared memory leaves a multiprocessor room for one or two of them
    anyway, and without the word the assembler spills to stay at 128 (seen with Triton 3.6).
    """
    block_d = max(16, triton.next_power_of_2(channels))
    wide = block_d > 32
    return {
        "D": channels,
        "BLOCK_B": ROWS,
        "BLOCK_D": block_d,
        "PRECISION": "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32",
        "num_warps": 8 if wide else 4,
        "maxnreg": 255 if wide and gates.dtype == torch.float32 else None,
    }


@triton.jit
def _tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def _locate_rows(lengths, time, batch, BLOCK_B: tl.constexpr):
    """(rows [BLOCK_B], their first events in memory, their lengths)."""
    rows = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    length = tl.load(lengths + rows, mask=rows < batch, other=0).to(tl.int32)
    return rows, rows.to(tl.int64) * time, tl.minimum(length, time)


@triton.jit(do_not_specialize=["time", "batch"])
def _forward(
    gates, weight, initial_state, hidden, final_state, lengths, time, batch,
    stride: tl.constexpr, D: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """r, z = sigmoid(g + h U^T), n = tanh(g_n + r (h U_n^T)), h <- n + z (h - n), for 16 rows at once."""
    rows, start, length = _locate_rows(lengths, time, batch, BLOCK_B)
    d = tl.arange(0, BLOCK_D)
    inputs, outputs = d[:, None], d[None, :]
    matrix = weight + outputs * D + inputs
    inside = (inputs < D) & (outputs < D)
    u_r = tl.load(matrix, mask=inside, other=0.0)
    u_z = tl.load(matrix + D * D, mask=inside, other=0.0)
    u_n = tl.load(matrix + 2 * D * D, mask=inside, other=0.0)

    exists = (rows < batch)[:, None] & (d < D)
    state_at = rows.to(tl.int64)[:, None] * D + d
    state = tl.load(initial_state + state_at, mask=exists, other=0.0)
    for t in tl.range(0, time, num_stages=3):
        real = (t < length)[:, None] & exists
        event = (start + t)[:, None]
        gates_t = gates + event * stride + d
        g_r = tl.load(gates_t, mask=real, other=0.0)
        g_z = tl.load(gates_t + D, mask=real, other=0.0)
        g_n = tl.load(gates_t + 2 * D, mask=real, other=0.0)
        operand = state.to(weight.dtype.element_ty)
        r = tl.sigmoid(tl.dot(operand, u_r, input_precision=PRECISION) + g_r)
        z = tl.sigmoid(tl.dot(operand, u_z, input_precision=PRECISION) + g_z)
        n = _tanh(g_n + r * tl.dot(operand, u_n, input_precision=PRECISION))
        state = tl.where(real, n + z * (state - n), state)
        tl.store(hidden + event * D + d, state, mask=exists)
    tl.store(final_state + state_at, state, mask=exists)


@triton.jit(do_not_specialize=["time", "batch"])
def _backward(
    gates, products, previous, weight, grad_hidden, grad_final, grad_gates, grad_initial,
    lengths, time, batch, stride: tl.constexpr, g_stride: tl.constexpr,
    D: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """From the last event down; products holds h_{t-1} U^T and gets the gradient of its candidate part."""
    rows, start, length = _locate_rows(lengths, time, batch, BLOCK_B)
    d = tl.arange(0, BLOCK_D)
    outputs, inputs = d[:, None], d[None, :]
    matrix = weight + outputs * D + inputs
    inside = (inputs < D) & (outputs < D)
    u_r = tl.load(matrix, mask=inside, other=0.0)
    u_z = tl.load(matrix + D * D, mask=inside, other=0.0)
    u_n = tl.load(matrix + 2 * D * D, mask=inside, other=0.0)

    exists = (rows < batch)[:, None] & (d < D)
    state_at = rows.to(tl.int64)[:, None] * D + d
    carry = tl.load(grad_final + state_at, mask=exists, other=0.0)
    for s in tl.range(0, time, num_stages=2):
        t = time - 1 - s
        real = (t < length)[:, None] & exists
        event = (start + t)[:, None]
        gates_t = gates + event * stride + d
        products_t = products + event * (3 * D) + d
        p_n = tl.load(products_t + 2 * D, mask=real, other=0.0).to(tl.float32)
        r = tl.sigmoid(
            tl.load(gates_t, mask=real, other=0.0) + tl.load(products_t, mask=real, other=0.0).to(tl.float32)
        )
        z = tl.load(gates_t + D, mask=real, other=0.0) + tl.load(products_t + D, mask=real, other=0.0).to(tl.float32)
        z = tl.sigmoid(z)
        n = _tanh(tl.load(gates_t + 2 * D, mask=real, other=0.0) + r * p_n)
        h = tl.load(previous + event * D + d, mask=real, other=0.0).to(tl.float32)
        carry += tl.load(grad_hidden + event * g_stride + d, mask=exists, other=0.0)

        g = tl.where(real, carry, 0.0)
        by_n = g * (1.0 - z) * (1.0 - n * n)
        by_u = by_n * r
        by_z = g * (h - n) * z * (1.0 - z)
        by_r = by_u * p_n * (1.0 - r)
        kept = tl.where(real, carry * z, carry)
        operand_type = weight.dtype.element_ty
        kept = tl.dot(by_r.to(operand_type), u_r, kept, input_precision=PRECISION)
        kept = tl.dot(by_z.to(operand_type), u_z, kept, input_precision=PRECISION)
        carry = tl.dot(by_u.to(operand_type), u_n, kept, input_precision=PRECISION)

        grad_gates_t = grad_gates + event * (3 * D) + d
        tl.store(grad_gates_t, by_r, mask=exists)
        tl.store(grad_gates_t + D, by_z, mask=exists)
        tl.store(grad_gates_t + 2 * D, by_n, mask=exists)
        tl.store(products_t + 2 * D, by_u, mask=exists)
    tl.store(grad_initial + state_at, carry, mask=exists)
