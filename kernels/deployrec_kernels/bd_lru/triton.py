"""Triton kernels: the walk of linear_recurrence with the gates computed in registers, again in the backward.

Bytes: 4 tensors forward (x, r, i in, hidden out), 8 backward (grad_hidden, x, r, i, hidden in, three gradients out).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from deployrec_kernels.launch import device_of, events, plan
from deployrec_kernels.linear_recurrence.triton import carry_buffers, scan_carries
from deployrec_kernels.tiles import compose, compose_gradients, edge, locate, softplus

TILE, STAGES = 256, 3
"""Elements of a tile, fewer than linear_recurrence's: the gates' temporaries would spill; and tiles in the pipeline.

The fastest of 17 combinations on an H100 at [2048, 200, 128] and [64, 1024, 128], float32 and bfloat16.
"""


def bd_lru_triton(
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(hidden like x, final_state [B, D]); see op.py for the arguments. chunk: forces chunks of that many events."""
    (x, x_stride), (r, r_stride), (i, i_stride) = events(x), events(r), events(i)
    lambda_, initial_state = lambda_.contiguous(), initial_state.contiguous()
    hidden = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    final = torch.empty_like(initial_state)
    if not final.numel():
        return hidden, final
    walk = plan(x, initial_state, lengths, chunk, TILE)
    arguments = (*walk.rows, x_stride, r_stride, i_stride)
    with device_of(x):
        carries = None
        if walk.chunk:
            factors, offsets = carry_buffers(walk, final)
            _reduce[walk.grid](x, r, i, lambda_, factors, offsets, *arguments, **walk.config, num_warps=1)
            carries, final = scan_carries(factors, offsets, initial_state, walk)
        _forward[walk.grid](
            x, r, i, lambda_, initial_state, carries, hidden, final, *arguments,
            **walk.config, STAGES=STAGES, num_warps=1,
        )  # fmt: skip
    return hidden, final


def bd_lru_backward_triton(
    grad_hidden: Tensor,
    grad_final: Tensor,
    x: Tensor,
    r: Tensor,
    i: Tensor,
    lambda_: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(grad_x, grad_r, grad_i like x; grad_lambda [D]; grad_initial_state [B, D])."""
    (x, x_stride), (r, r_stride), (i, i_stride) = events(x), events(r), events(i)
    grad_hidden, g_stride = events(grad_hidden)
    lambda_, initial_state = lambda_.contiguous(), initial_state.contiguous()
    grad_final, hidden = grad_final.contiguous(), hidden.contiguous()
    grad_x, grad_r, grad_i = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in range(3))
    grad_initial = torch.empty_like(initial_state)
    if not grad_initial.numel():
        return grad_x, grad_r, grad_i, torch.zeros_like(lambda_), grad_initial
    walk = plan(x, initial_state, lengths, chunk, TILE)
    # Left alone, the assembler aims at 168 registers a thread and spills.
    registers = {"maxnreg": 255} if walk.few_warps else {}
    grad_lambda = initial_state.new_empty(walk.grid[0], lambda_.shape[0])
    with device_of(x):
        carries = None
        if walk.chunk:
            factors, offsets = carry_buffers(walk, grad_initial)
            _reduce_backward[walk.grid](
                grad_hidden, r, lambda_, factors, offsets, *walk.rows, r_stride, g_stride, **walk.config, num_warps=1
            )
            carries, grad_initial = scan_carries(factors, offsets, grad_final, walk)
        _backward[walk.grid](
            x, r, i, lambda_, grad_hidden, hidden, initial_state, grad_final, carries,
            grad_x, grad_r, grad_i, grad_lambda, grad_initial, *walk.rows, x_stride, r_stride, i_stride, g_stride,
            **walk.config, STAGES=STAGES, num_warps=1, **registers,
        )  # fmt: skip
    return grad_x, grad_r, grad_i, grad_lambda.sum(0).to(lambda_.dtype), grad_initial


@triton.jit
def _decay(r, rate):
    """(sigmoid(r), alpha, 1 - alpha^2), both by their series where alpha is near 1.

    There 1 - alpha^2 would cancel, and an error of alpha adds up over all events that a state remembers:
    a GPU's own exp is off by two units in the last place.
    """
    r = tl.sigmoid(r)
    u = rate * r
    alpha = tl.exp(-u)
    remainder = (1.0 - alpha) * (1.0 + alpha)
    if r.dtype != tl.float64:
        v = 2.0 * u
        near = v < 0.1
        alpha = tl.where(near, 1.0 - u * (1.0 - u * (1 / 2 - u * (1 / 6 - u * (1 / 24)))), alpha)
        series = v * (1.0 - v * (1 / 2 - v * (1 / 6 - v * (1 / 24 - v * (1 / 120)))))
        remainder = tl.where(near, series, remainder)
    return r, alpha, remainder


@triton.jit(do_not_specialize=["time", "chunks"])
def _forward(
    x, r, i, lambda_, initial_state, carries, hidden, final_state,
    lengths, time, chunks,
    x_stride: tl.constexpr, r_stride: tl.constexpr, i_stride: tl.constexpr,
    D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
    CHUNK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """h_t = alpha_t h_{t-1} + beta_t x_t over the program's events."""
    row, start, length, begin, end, chunk = locate(lengths, time, chunks, CHUNK)
    state_type = initial_state.dtype.element_ty
    steps = tl.arange(0, BLOCK_T)[:, None]
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    rate = softplus(tl.load(lambda_ + d, mask=d < D, other=0.0).to(state_type))
    state_at = initial_state + row.to(tl.int64) * D + d
    if CHUNK > 0 and chunk > 0:
        state_at = carries + (tl.program_id(0).to(tl.int64) - 1) * D + d
    state = tl.load(state_at, mask=d < D, other=0.0)
    for t0 in tl.range(begin, end, BLOCK_T, num_stages=STAGES):
        event = start + t0
        real = (t0 + steps < length) & (d < D)
        x_t = tl.load(x + event * x_stride + (steps * x_stride + d), mask=real, other=0.0).to(state_type)
        r_t = tl.load(r + event * r_stride + (steps * r_stride + d), mask=real, other=0.0).to(state_type)
        i_t = tl.load(i + event * i_stride + (steps * i_stride + d), mask=real, other=0.0).to(state_type)
        _, alpha, remainder = _decay(r_t, rate)
        a_t = tl.where(real, alpha, 1.0)
        b_t = tl.sqrt(remainder + 1e-8) * tl.sigmoid(i_t) * x_t
        _, h_t = tl.associative_scan((a_t, tl.where(steps == 0, a_t * state + b_t, b_t)), 0, compose)
        tl.store(hidden + event * D + (steps * D + d), h_t, mask=(t0 + steps < end) & (d < D))
        state = edge(h_t, steps == BLOCK_T - 1)
    if CHUNK == 0:
        tl.store(final_state + row.to(tl.int64) * D + d, state, mask=d < D)


@triton.jit(do_not_specialize=["time", "chunks"])
def _backward(
    x, r, i, lambda_, grad_hidden, hidden, initial_state, grad_final, carries,
    grad_x, grad_r, grad_i, grad_lambda, grad_initial,
    lengths, time, chunks,
    x_stride: tl.constexpr, r_stride: tl.constexpr, i_stride: tl.constexpr, g_stride: tl.constexpr,
    D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
    CHUNK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """From the last event down: g_t as in linear_recurrence, then through beta, alpha and both sigmoids."""
    row, start, length, begin, end, chunk = locate(lengths, time, chunks, CHUNK)
    state_type = initial_state.dtype.element_ty
    steps = tl.arange(0, BLOCK_T)[:, None]
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    logit = tl.load(lambda_ + d, mask=d < D, other=0.0).to(state_type)
    rate = softplus(logit)
    grad_rate = tl.zeros((BLOCK_D,), state_type)
    row_state = row.to(tl.int64) * D + d
    initial = tl.load(initial_state + row_state, mask=d < D, other=0.0)
    slot = tl.program_id(0).to(tl.int64)
    carry_at = grad_final + row_state
    if CHUNK > 0 and chunk < chunks - 1:
        carry_at = carries + (slot - 2 * chunk + chunks - 2) * D + d
    carry = tl.load(carry_at, mask=d < D, other=0.0)
    for s0 in tl.range(0, end - begin, BLOCK_T, num_stages=STAGES):
        last = end - 1 - s0
        event = start + last
        t = last - steps
        walked = (t >= begin) & (d < D)
        real = walked & (t < length)
        x_t = tl.load(x + event * x_stride + (d - steps * x_stride), mask=real, other=0.0).to(state_type)
        r_t = tl.load(r + event * r_stride + (d - steps * r_stride), mask=real, other=0.0).to(state_type)
        i_t = tl.load(i + event * i_stride + (d - steps * i_stride), mask=real, other=0.0).to(state_type)
        g_t = tl.load(grad_hidden + event * g_stride + (d - steps * g_stride), mask=walked, other=0.0)
        h_t = tl.load(hidden + (event - 1) * D + (d - steps * D), mask=real & (t > 0), other=0.0).to(state_type)
        h_t = tl.where(t == 0, initial, h_t)

        r_t, alpha, remainder = _decay(r_t, rate)
        i_t = tl.sigmoid(i_t)
        a_t = tl.where(real, alpha, 1.0)
        g_t = g_t.to(state_type) + tl.where(steps == 0, carry, 0.0)
        _, _, g_t = tl.associative_scan((a_t, tl.full(a_t.shape, 1.0, state_type), g_t), 0, compose_gradients)
        carry = edge(a_t * g_t, steps == BLOCK_T - 1)
        g_t = tl.where(real, g_t, 0.0)

        inverse_root = tl.rsqrt(remainder + 1e-8)
        by_x = g_t * i_t * (remainder + 1e-8) * inverse_root
        by_alpha = g_t * (h_t - x_t * i_t * alpha * inverse_root)
        by_rate = -by_alpha * alpha * r_t
        grad_rate += tl.sum(by_rate, 0)
        events = event * D + (d - steps * D)
        tl.store(grad_x + events, by_x, mask=walked)
        tl.store(grad_i + events, by_x * x_t * (1.0 - i_t), mask=walked)
        tl.store(grad_r + events, by_rate * rate * (1.0 - r_t), mask=walked)
    tl.store(grad_lambda + slot * D + d, grad_rate * tl.sigmoid(logit), mask=d < D)
    if CHUNK == 0:
        tl.store(grad_initial + row_state, carry, mask=d < D)


@triton.jit(do_not_specialize=["time", "chunks"])
def _reduce(
    x, r, i, lambda_, factors, offsets,
    lengths, time, chunks,
    x_stride: tl.constexpr, r_stride: tl.constexpr, i_stride: tl.constexpr,
    D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """The chunk as one step, state -> factor * state + offset."""
    _row, start, length, begin, end, _chunk = locate(lengths, time, chunks, CHUNK)
    state_type = factors.dtype.element_ty
    steps = tl.arange(0, BLOCK_T)[:, None]
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    rate = softplus(tl.load(lambda_ + d, mask=d < D, other=0.0).to(state_type))
    factor = tl.full((BLOCK_D,), 1.0, state_type)
    offset = tl.zeros((BLOCK_D,), state_type)
    for t0 in tl.range(begin, end, BLOCK_T, num_stages=2):
        event = start + t0
        real = (t0 + steps < tl.minimum(length, end)) & (d < D)
        x_t = tl.load(x + event * x_stride + (steps * x_stride + d), mask=real, other=0.0).to(state_type)
        r_t = tl.load(r + event * r_stride + (steps * r_stride + d), mask=real, other=0.0).to(state_type)
        i_t = tl.load(i + event * i_stride + (steps * i_stride + d), mask=real, other=0.0).to(state_type)
        _, alpha, remainder = _decay(r_t, rate)
        b_t = tl.sqrt(remainder + 1e-8) * tl.sigmoid(i_t) * x_t
        a_all, b_all = tl.associative_scan((tl.where(real, alpha, 1.0), b_t), 0, compose)
        last_step = steps == BLOCK_T - 1
        factor, offset = compose(factor, offset, edge(a_all, last_step), edge(b_all, last_step))
    slot = tl.program_id(0).to(tl.int64)
    tl.store(factors + slot * D + d, factor, mask=d < D)
    tl.store(offsets + slot * D + d, offset, mask=d < D)


@triton.jit(do_not_specialize=["time", "chunks"])
def _reduce_backward(
    grad_hidden, r, lambda_, factors, offsets,
    lengths, time, chunks,
    r_stride: tl.constexpr, g_stride: tl.constexpr,
    D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """The chunk as one step of c <- alpha_t (grad_hidden_t + c), last event first."""
    _row, start, length, begin, end, chunk = locate(lengths, time, chunks, CHUNK)
    state_type = factors.dtype.element_ty
    steps = tl.arange(0, BLOCK_T)[:, None]
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    rate = softplus(tl.load(lambda_ + d, mask=d < D, other=0.0).to(state_type))
    factor = tl.full((BLOCK_D,), 1.0, state_type)
    offset = tl.zeros((BLOCK_D,), state_type)
    for s0 in tl.range(0, end - begin, BLOCK_T, num_stages=2):
        last = end - 1 - s0
        event = start + last
        t = last - steps
        walked = (t >= begin) & (d < D)
        real = walked & (t < length)
        r_t = tl.load(r + event * r_stride + (d - steps * r_stride), mask=real, other=0.0).to(state_type)
        g_t = tl.load(grad_hidden + event * g_stride + (d - steps * g_stride), mask=walked, other=0.0).to(state_type)
        _, alpha, _remainder = _decay(r_t, rate)
        a_t = tl.where(real, alpha, 1.0)
        a_all, b_all = tl.associative_scan((a_t, a_t * g_t), 0, compose)
        last_step = steps == BLOCK_T - 1
        factor, offset = compose(factor, offset, edge(a_all, last_step), edge(b_all, last_step))
    slot = tl.program_id(0).to(tl.int64) + chunks - 1 - 2 * chunk
    tl.store(factors + slot * D + d, factor, mask=d < D)
    tl.store(offsets + slot * D + d, offset, mask=d < D)
