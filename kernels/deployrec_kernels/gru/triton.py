"""Triton kernels: a block walks the time of 16 rows with the recurrent weight in its shared memory.

Bytes an event: forward 3 D in, D out. Backward: one product recomputes h_{t-1} U^T for all events at once, the walk
then needs a single matrix product a step, and one product over all events gives the weight's gradient.

float32 operands are multiplied as pairs of bfloat16 values (high and low part, three products), which keeps 16 of
their 24 bits; only tensor cores are fast enough, and these read half as many bytes of the weight as tf32 would.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from deployrec_kernels.gru import triton_row
from deployrec_kernels.launch import device_of, events, shared_memory
from deployrec_kernels.tiles import tanh

ROWS = 16
"""Rows of a block: the smallest tile of a tensor-core product."""
WIDEST = 128
"""Channels; the registers of a block hold no wider rows."""
FEW_ROWS = 512
"""Up to so many float32 rows each has a block of its own: benchmarks/gpu/predictions.md has the arithmetic."""
FORWARD_TILES, BACKWARD_TILES = 3, 8
"""[ROWS, D] tiles that a step of the walk reads."""


def fits_on_chip(gates: Tensor, channels: int) -> bool:
    """Whether the three recurrent [D, D] matrices stay in the registers or the shared memory of one block."""
    if channels > WIDEST or gates.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    return _one_row_a_block(gates) or _resident_bytes(gates, _width(channels)) <= shared_memory(gates)


def gru_triton(
    gates: Tensor,
    recurrent_weight: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
) -> tuple[Tensor, Tensor]:
    """(hidden [B, T, D], final_state [B, D]) of widths that fit on the chip; see op.py."""
    batch, channels = initial_state.shape
    gates, stride = events(gates)
    initial_state = initial_state.contiguous()
    hidden = torch.empty((*gates.shape[:-1], channels), dtype=gates.dtype, device=gates.device)
    final = torch.empty_like(initial_state)
    if not final.numel():
        return hidden, final
    with device_of(gates):
        if _one_row_a_block(gates):
            final = triton_row.forward(gates, stride, recurrent_weight, initial_state, lengths.contiguous(), hidden)
        else:
            _forward[(triton.cdiv(batch, ROWS),)](
                gates, recurrent_weight.contiguous(), initial_state, hidden, final,
                lengths.contiguous(), gates.shape[1], batch, stride, **_config(gates, channels, FORWARD_TILES),
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
    (gates, stride), (grad_hidden, g_stride) = events(gates), events(grad_hidden)
    recurrent_weight = recurrent_weight.contiguous()
    grad_gates = torch.empty(gates.shape, dtype=gates.dtype, device=gates.device)
    grad_initial = torch.empty_like(initial_state)
    if not grad_initial.numel():
        return grad_gates, torch.zeros_like(recurrent_weight), grad_initial
    previous = _previous_states(hidden, initial_state)
    with device_of(gates), torch.autocast(gates.device.type, enabled=False):
        products = previous @ recurrent_weight.T
        if _one_row_a_block(gates):
            grad_initial = triton_row.backward(
                gates, stride, products, previous, recurrent_weight, grad_hidden, g_stride, grad_final.contiguous(),
                lengths.contiguous(), grad_gates,
            )  # fmt: skip
        else:
            _backward[(triton.cdiv(batch, ROWS),)](
                gates, products, previous, recurrent_weight, grad_hidden, grad_final.contiguous(), grad_gates,
                grad_initial, lengths.contiguous(), gates.shape[1], batch, stride, g_stride,
                **_config(gates, channels, BACKWARD_TILES),
            )  # fmt: skip
        by_product = (grad_gates[..., : 2 * channels], products[..., 2 * channels :])
        flat = previous.reshape(-1, channels)
        grad_weight = torch.cat([by.reshape(-1, by.shape[-1]).T @ flat for by in by_product])
    return grad_gates, grad_weight, grad_initial


def _one_row_a_block(gates: Tensor) -> bool:
    return gates.dtype == torch.float32 and len(gates) <= FEW_ROWS


def _previous_states(hidden: Tensor, initial_state: Tensor) -> Tensor:
    """h_{t-1} of every event, in the dtype and shape of hidden."""
    return torch.cat((initial_state.to(hidden.dtype).unsqueeze(1), hidden[:, :-1]), 1)[:, : hidden.shape[1]]


def _config(gates: Tensor, channels: int, tiles: int) -> dict[str, Any]:
    """How a block runs: as many tiles in flight, up to two, as the weight leaves shared memory for.

    float32 products are single tf32 ones where the user allowed that for products in general. float32 blocks may use
    every register: their shared memory leaves a multiprocessor room for one or two wide ones anyway, and without the
    word the assembler spills to stay at 128 (seen with Triton 3.6).
    """
    width = _width(channels)
    single = gates.dtype == torch.float32
    room = shared_memory(gates) - _resident_bytes(gates, width)
    exact = single and torch.get_float32_matmul_precision() == "highest"
    # The interpreter's products of bfloat16 values are wrong; those of float32 are exact.
    return {
        "D": channels,
        "BLOCK_B": ROWS,
        "BLOCK_D": width,
        "PRECISION": "bf16x3" if exact and not triton.knobs.runtime.interpret else "tf32",
        "STAGES": 1 + min(2, room // (tiles * ROWS * width * gates.itemsize)),
        "num_warps": 8 if width > 32 else 4,
        "maxnreg": 255 if single else None,
    }


def _width(channels: int) -> int:
    return max(16, triton.next_power_of_2(channels))


def _resident_bytes(gates: Tensor, width: int) -> int:
    """Shared memory of the three matrices (tf32, or pairs of bfloat16) and of a tile that changes its layout."""
    return 3 * width * width * gates.itemsize + ROWS * width * 4


@triton.jit
def _halves(x):
    """x as a sum of two bfloat16 values."""
    high = x.to(tl.bfloat16)
    return high, (x - high.to(tl.float32)).to(tl.bfloat16)


@triton.jit
def _load_matrix(at, inside, PRECISION: tl.constexpr):
    """A [D, D] matrix that stays: (high, low), or twice itself where it is multiplied as it is."""
    u = tl.load(at, mask=inside, other=0.0)
    low = u
    if PRECISION == "bf16x3":
        u, low = _halves(u)
    return u, low


@triton.jit
def _multiply(x, u, low, total, PRECISION: tl.constexpr):
    """total + x u for float32 x and total [ROWS, D] and a matrix of `_load_matrix`."""
    if PRECISION == "bf16x3":
        x_high, x_low = _halves(x)
        total = tl.dot(x_low, u, total)
        total = tl.dot(x_high, low, total)
        total = tl.dot(x_high, u, total)
    else:
        total = tl.dot(x.to(u.dtype), u, total, input_precision=PRECISION)
    return total


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
    PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """r, z = sigmoid(g + h U^T), n = tanh(g_n + r (h U_n^T)), h <- n + z (h - n), for 16 rows at once."""
    rows, start, length = _locate_rows(lengths, time, batch, BLOCK_B)
    d = tl.arange(0, BLOCK_D)
    inputs, outputs = d[:, None], d[None, :]
    matrix = weight + outputs * D + inputs
    inside = (inputs < D) & (outputs < D)
    u_r, low_r = _load_matrix(matrix, inside, PRECISION)
    u_z, low_z = _load_matrix(matrix + D * D, inside, PRECISION)
    u_n, low_n = _load_matrix(matrix + 2 * D * D, inside, PRECISION)

    exists = (rows < batch)[:, None] & (d < D)
    state_at = rows.to(tl.int64)[:, None] * D + d
    state = tl.load(initial_state + state_at, mask=exists, other=0.0)
    zeros = tl.zeros((BLOCK_B, BLOCK_D), tl.float32)
    for t in tl.range(0, time, num_stages=STAGES):
        real = (t < length)[:, None] & exists
        event = (start + t)[:, None]
        gates_t = gates + event * stride + d
        g_r = tl.load(gates_t, mask=real, other=0.0)
        g_z = tl.load(gates_t + D, mask=real, other=0.0)
        g_n = tl.load(gates_t + 2 * D, mask=real, other=0.0)
        r = tl.sigmoid(_multiply(state, u_r, low_r, zeros, PRECISION) + g_r)
        z = tl.sigmoid(_multiply(state, u_z, low_z, zeros, PRECISION) + g_z)
        n = tanh(g_n + r * _multiply(state, u_n, low_n, zeros, PRECISION))
        state = tl.where(real, n + z * (state - n), state)
        tl.store(hidden + event * D + d, state, mask=exists)
    tl.store(final_state + state_at, state, mask=exists)


@triton.jit(do_not_specialize=["time", "batch"])
def _backward(
    gates, products, previous, weight, grad_hidden, grad_final, grad_gates, grad_initial,
    lengths, time, batch, stride: tl.constexpr, g_stride: tl.constexpr,
    D: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """From the last event down; products holds h_{t-1} U^T and gets the gradient of its candidate part."""
    rows, start, length = _locate_rows(lengths, time, batch, BLOCK_B)
    d = tl.arange(0, BLOCK_D)
    outputs, inputs = d[:, None], d[None, :]
    matrix = weight + outputs * D + inputs
    inside = (inputs < D) & (outputs < D)
    u_r, low_r = _load_matrix(matrix, inside, PRECISION)
    u_z, low_z = _load_matrix(matrix + D * D, inside, PRECISION)
    u_n, low_n = _load_matrix(matrix + 2 * D * D, inside, PRECISION)

    exists = (rows < batch)[:, None] & (d < D)
    state_at = rows.to(tl.int64)[:, None] * D + d
    carry = tl.load(grad_final + state_at, mask=exists, other=0.0)
    for s in tl.range(0, time, num_stages=STAGES):
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
        n = tanh(tl.load(gates_t + 2 * D, mask=real, other=0.0) + r * p_n)
        h = tl.load(previous + event * D + d, mask=real, other=0.0).to(tl.float32)
        carry += tl.load(grad_hidden + event * g_stride + d, mask=exists, other=0.0)

        g = tl.where(real, carry, 0.0)
        by_n = g * (1.0 - z) * (1.0 - n * n)
        by_u = by_n * r
        by_z = g * (h - n) * z * (1.0 - z)
        by_r = by_u * p_n * (1.0 - r)
        grad_gates_t = grad_gates + event * (3 * D) + d
        tl.store(grad_gates_t, by_r, mask=exists)
        tl.store(grad_gates_t + D, by_z, mask=exists)
        tl.store(grad_gates_t + 2 * D, by_n, mask=exists)
        tl.store(products_t + 2 * D, by_u, mask=exists)
        kept = tl.where(real, carry * z, carry)
        kept = _multiply(by_r, u_r, low_r, kept, PRECISION)
        kept = _multiply(by_z, u_z, low_z, kept, PRECISION)
        carry = _multiply(by_u, u_n, low_n, kept, PRECISION)
    tl.store(grad_initial + state_at, carry, mask=exists)
