"""Triton kernels for few rows: a block walks the time of one row with the recurrent weight in its registers.

Products are plain float32 multiply-adds, with no rounding to what tensor cores take: one row gives these nothing to
share. A step waits for the sums of a few warps and for the state to reach them all, not for the weight.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from deployrec_kernels.tiles import tanh

STAGES = 4
"""Steps whose inputs are on their way: a row's few bytes hide none of the memory's latency by themselves."""


def forward(
    gates: Tensor, stride: int, recurrent_weight: Tensor, initial_state: Tensor, lengths: Tensor, hidden: Tensor
) -> Tensor:
    """Fills hidden [B, T, D]; returns final_state [B, D]."""
    batch, channels = initial_state.shape
    final = torch.empty_like(initial_state)
    _forward[(batch,)](
        gates, recurrent_weight.view(3, channels, channels).transpose(1, 2).contiguous(), initial_state, hidden, final,
        lengths, gates.shape[1], stride, **_config(channels),
    )  # fmt: skip
    return final


def backward(
    gates: Tensor, stride: int, products: Tensor, previous: Tensor, recurrent_weight: Tensor,
    grad_hidden: Tensor, g_stride: int, grad_final: Tensor, lengths: Tensor, grad_gates: Tensor,
) -> Tensor:  # fmt: skip
    """Fills grad_gates, and the candidate part of products with its gradient; returns grad_initial_state [B, D].

    What does not wait for the later events is computed for all events at once: the walk's registers hold the weight.
    """
    batch, channels = grad_final.shape
    time = gates.shape[1]
    grad_initial = torch.empty_like(grad_final)
    config = _config(channels)
    block_t = 1024 // config["BLOCK_D"]
    _coefficients[(batch, triton.cdiv(time, block_t))](
        gates, products, previous, grad_gates, lengths, time, stride, channels, block_t, config["BLOCK_D"],
    )  # fmt: skip
    _backward[(batch,)](
        grad_gates, products, recurrent_weight, grad_hidden, grad_final, grad_initial, time, g_stride, **config,
    )  # fmt: skip
    return grad_initial


def _config(channels: int) -> dict[str, Any]:
    width = max(16, triton.next_power_of_2(channels))
    warps = {16: 1, 32: 1, 64: 4, 128: 8}[width]
    return {"D": channels, "BLOCK_D": width, "STAGES": STAGES, "num_warps": warps, "maxnreg": 255}


# A kernel does not know how its weight is aligned: it would load several units at once into a lane, and the sums of a
# unit would then cross four times as many warps.
@triton.jit
def _load_weight(weight, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """The three [D, D] matrices, summed over along axis 0."""
    summed = tl.arange(0, BLOCK_D)[:, None]
    unit = tl.arange(0, BLOCK_D)[None, :]
    at = weight + summed * D + unit
    inside = (summed < D) & (unit < D)
    u_r = tl.load(at, mask=inside, other=0.0)
    u_z = tl.load(at + D * D, mask=inside, other=0.0)
    u_n = tl.load(at + 2 * D * D, mask=inside, other=0.0)
    return u_r, u_z, u_n


@triton.jit
def _add(r, z, n, more_r, more_z, more_n):
    return r + more_r, z + more_z, n + more_n


@triton.jit(do_not_specialize=["time", "weight"])
def _forward(
    gates, weight, initial_state, hidden, final_state, lengths, time,
    stride: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """r, z = sigmoid(g + h U^T), n = tanh(g_n + r (h U_n^T)), h <- n + z (h - n)."""
    row = tl.program_id(0).to(tl.int64)
    length = tl.minimum(tl.load(lengths + row).to(tl.int32), time)
    d = tl.arange(0, BLOCK_D)
    exists = d < D
    u_r, u_z, u_n = _load_weight(weight, D, BLOCK_D)
    state = tl.load(initial_state + row * D + d, mask=exists, other=0.0)
    for t in tl.range(0, time, num_stages=STAGES):
        real = d < tl.where(t < length, D, 0)
        event = row * time + t
        gates_t = gates + event * stride + d
        g_r = tl.load(gates_t, mask=real, other=0.0)
        g_z = tl.load(gates_t + D, mask=real, other=0.0)
        g_n = tl.load(gates_t + 2 * D, mask=real, other=0.0)
        h = state[:, None]
        by_r, by_z, by_n = tl.reduce((h * u_r, h * u_z, h * u_n), 0, _add)
        z = tl.sigmoid(g_z + by_z)
        n = tanh(g_n + tl.sigmoid(g_r + by_r) * by_n)
        state = tl.where(real, n + z * (state - n), state)
        tl.store(hidden + event * D + d, state, mask=exists)
    tl.store(final_state + row * D + d, state, mask=exists)


@triton.jit(do_not_specialize=["time"])
def _coefficients(
    gates, products, previous, factors, lengths, time,
    stride: tl.constexpr, D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """What the gradient at an event's output is multiplied by: the three gates' in factors, (z, -, U_n's) in products.

    Padding hands the gradient on as it is.
    """
    row = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * BLOCK_T + tl.arange(0, BLOCK_T)[:, None]
    d = tl.arange(0, BLOCK_D)[None, :]
    inside = (t < time) & (d < D)
    real = (t < tl.load(lengths + row)) & inside
    event = row * time + t
    gates_t = gates + event * stride + d
    products_t = products + event * (3 * D) + d
    factors_t = factors + event * (3 * D) + d
    p_n = tl.load(products_t + 2 * D, mask=real, other=0.0)
    r = tl.sigmoid(tl.load(gates_t, mask=real, other=0.0) + tl.load(products_t, mask=real, other=0.0))
    z = tl.sigmoid(tl.load(gates_t + D, mask=real, other=0.0) + tl.load(products_t + D, mask=real, other=0.0))
    n = tanh(tl.load(gates_t + 2 * D, mask=real, other=0.0) + r * p_n)
    h = tl.load(previous + event * D + d, mask=real, other=0.0)
    by_n = tl.where(real, (1.0 - z) * (1.0 - n * n), 0.0)
    by_u = by_n * r
    by_z = tl.where(real, (h - n) * z * (1.0 - z), 0.0)
    tl.store(factors_t, by_u * p_n * (1.0 - r), mask=inside)
    tl.store(factors_t + D, by_z, mask=inside)
    tl.store(factors_t + 2 * D, by_n, mask=inside)
    tl.store(products_t, tl.where(real, z, 1.0), mask=inside)
    tl.store(products_t + 2 * D, by_u, mask=inside)


@triton.jit(do_not_specialize=["time", "weight"])
def _backward(
    factors, products, weight, grad_hidden, grad_final, grad_initial, time,
    g_stride: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """From the last event down; the factors of `_coefficients` become the gradients."""
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    exists = d < D
    u_r, u_z, u_n = _load_weight(weight, D, BLOCK_D)
    carry = tl.load(grad_final + row * D + d, mask=exists, other=0.0)
    for s in tl.range(0, time, num_stages=STAGES):
        event = row * time + time - 1 - s
        at = event * (3 * D) + d
        factors_t = factors + at
        products_t = products + at
        carry += tl.load(grad_hidden + event * g_stride + d, mask=exists, other=0.0)
        by_r = carry * tl.load(factors_t, mask=exists, other=0.0)
        by_z = carry * tl.load(factors_t + D, mask=exists, other=0.0)
        by_n = carry * tl.load(factors_t + 2 * D, mask=exists, other=0.0)
        by_u = carry * tl.load(products_t + 2 * D, mask=exists, other=0.0)
        kept = carry * tl.load(products_t, mask=exists, other=0.0)
        tl.store(factors_t, by_r, mask=exists)
        tl.store(factors_t + D, by_z, mask=exists)
        tl.store(factors_t + 2 * D, by_n, mask=exists)
        tl.store(products_t + 2 * D, by_u, mask=exists)
        to_r, to_z, to_n = tl.reduce((by_r[:, None] * u_r, by_z[:, None] * u_z, by_u[:, None] * u_n), 0, _add)
        carry = kept + to_r + to_z + to_n
    tl.store(grad_initial + row * D + d, carry, mask=exists)
