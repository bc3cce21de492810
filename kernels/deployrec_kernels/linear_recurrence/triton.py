"""Triton kernels: one warp walks a row's time in tiles; few channels and long rows go through chunks.

Bytes: 3 tensors forward (a, b in, hidden out), 5 backward (a, hidden, grad_hidden in, grad_a, grad_b out). In chunks
a and b (a and grad_hidden) are read twice: once to reduce each chunk to a pair (factor, offset), and again, after a
scan of the pairs, to replay the chunk from its carried state.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from deployrec_kernels.launch import Walk, device_of, events, plan
from deployrec_kernels.tiles import compose, compose_gradients, edge, locate


def linear_recurrence_triton(
    a: Tensor,
    b: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(hidden like b, final_state [B, D]); see op.py for the arguments. chunk: forces chunks of that many events."""
    (a, a_stride), (b, b_stride) = events(a), events(b)
    initial_state = initial_state.contiguous()
    hidden = torch.empty(b.shape, dtype=b.dtype, device=b.device)
    final = torch.empty_like(initial_state)
    if not final.numel():
        return hidden, final
    walk = plan(b, initial_state, lengths, chunk, narrow=True)
    arguments = (*walk.rows, a_stride, b_stride)
    with device_of(b):
        carries = None
        if walk.chunk:
            factors, offsets = carry_buffers(walk, final)
            _reduce[walk.grid](a, b, factors, offsets, *arguments, **walk.config, REVERSE=False, num_warps=1)
            carries, final = scan_carries(factors, offsets, initial_state, walk)
        _forward[walk.grid](
            a,
            b,
            initial_state,
            carries,
            hidden,
            final,
            *arguments,
            **walk.config,
            STAGES=walk.stages(b.itemsize),
            num_warps=1,
        )
    return hidden, final


def linear_recurrence_backward_triton(
    grad_hidden: Tensor,
    grad_final: Tensor,
    a: Tensor,
    hidden: Tensor,
    initial_state: Tensor,
    lengths: Tensor,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """(grad_a, grad_b like a; grad_initial_state [B, D])."""
    (a, a_stride), (grad_hidden, g_stride) = events(a), events(grad_hidden)
    initial_state, grad_final, hidden = initial_state.contiguous(), grad_final.contiguous(), hidden.contiguous()
    grad_a, grad_b = (torch.empty(a.shape, dtype=a.dtype, device=a.device) for _ in range(2))
    grad_initial = torch.empty_like(initial_state)
    if not grad_initial.numel():
        return grad_a, grad_b, grad_initial
    walk = plan(a, initial_state, lengths, chunk, narrow=True)
    arguments = (*walk.rows, a_stride, g_stride)
    with device_of(a):
        carries = None
        if walk.chunk:
            factors, offsets = carry_buffers(walk, grad_initial)
            _reduce[walk.grid](a, grad_hidden, factors, offsets, *arguments, **walk.config, REVERSE=True, num_warps=1)
            carries, grad_initial = scan_carries(factors, offsets, grad_final, walk)
        _backward[walk.grid](
            a, grad_hidden, hidden, initial_state, grad_final, carries, grad_a, grad_b, grad_initial, *arguments,
            **walk.config, STAGES=walk.stages(a.itemsize), num_warps=1,
        )  # fmt: skip
    return grad_a, grad_b, grad_initial


def carry_buffers(walk: Walk, state: Tensor) -> tuple[Tensor, Tensor]:
    """Room for the factor and the offset of every chunk."""
    shape = (walk.grid[0], state.shape[1])
    return state.new_empty(shape), state.new_empty(shape)


def scan_carries(factors: Tensor, offsets: Tensor, initial_state: Tensor, walk: Walk) -> tuple[Tensor, Tensor]:
    """The state behind every chunk [B * chunks, D], in the order of the walk, and behind each row's last one [B, D]."""
    shape = (len(initial_state), walk.chunks, initial_state.shape[1])
    lengths = torch.full(shape[:1], walk.chunks, dtype=torch.int64, device=factors.device)
    carries, final = linear_recurrence_triton(factors.view(shape), offsets.view(shape), initial_state, lengths, chunk=0)
    return carries.flatten(0, 1), final


@triton.jit(do_not_specialize=["time", "chunks"])
def _forward(
    a, b, initial_state, carries, hidden, final_state,
    lengths, time, chunks,
    a_stride: tl.constexpr, b_stride: tl.constexpr,
    D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
    CHUNK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """h_t = a_t h_{t-1} + b_t over the program's events, from its row's initial state or its chunk's carried one."""
    row, start, length, begin, end, chunk = locate(lengths, time, chunks, CHUNK)
    state_type = initial_state.dtype.element_ty
    steps = tl.arange(0, BLOCK_T)[:, None]
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    state_at = initial_state + row.to(tl.int64) * D + d
    if CHUNK > 0 and chunk > 0:
        state_at = carries + (tl.program_id(0).to(tl.int64) - 1) * D + d
    state = tl.load(state_at, mask=d < D, other=0.0)
    for t0 in tl.range(begin, end, BLOCK_T, num_stages=STAGES):
        event = start + t0
        real = (t0 + steps < length) & (d < D)
        a_t = tl.load(a + event * a_stride + (steps * a_stride + d), mask=real, other=1.0).to(state_type)
        b_t = tl.load(b + event * b_stride + (steps * b_stride + d), mask=real, other=0.0).to(state_type)
        _, h_t = tl.associative_scan((a_t, tl.where(steps == 0, a_t * state + b_t, b_t)), 0, compose)
        tl.store(hidden + event * D + (steps * D + d), h_t, mask=(t0 + steps < end) & (d < D))
        state = edge(h_t, steps == BLOCK_T - 1)
    if CHUNK == 0:
        tl.store(final_state + row.to(tl.int64) * D + d, state, mask=d < D)


@triton.jit(do_not_specialize=["time", "chunks"])
def _backward(
    a, grad_hidden, hidden, initial_state, grad_final, carries, grad_a, grad_b, grad_initial,
    lengths, time, chunks,
    a_stride: tl.constexpr, g_stride: tl.constexpr,
    D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
    CHUNK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """g_t = grad_hidden_t + c, c <- a_t g_t, from the last event down; grad_b = g_t, grad_a = g_t h_{t-1}."""
    row, start, length, begin, end, chunk = locate(lengths, time, chunks, CHUNK)
    state_type = initial_state.dtype.element_ty
    steps = tl.arange(0, BLOCK_T)[:, None]
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    row_state = row.to(tl.int64) * D + d
    initial = tl.load(initial_state + row_state, mask=d < D, other=0.0)
    carry_at = grad_final + row_state
    if CHUNK > 0 and chunk < chunks - 1:
        walked = tl.program_id(0).to(tl.int64) - 2 * chunk + chunks - 1
        carry_at = carries + (walked - 1) * D + d
    carry = tl.load(carry_at, mask=d < D, other=0.0)
    for s0 in tl.range(0, end - begin, BLOCK_T, num_stages=STAGES):
        last = end - 1 - s0
        event = start + last
        t = last - steps
        walked_events = (t >= begin) & (d < D)
        real = walked_events & (t < length)
        a_t = tl.load(a + event * a_stride + (d - steps * a_stride), mask=real, other=1.0).to(state_type)
        g_t = tl.load(grad_hidden + event * g_stride + (d - steps * g_stride), mask=walked_events, other=0.0)
        h_t = tl.load(hidden + (event - 1) * D + (d - steps * D), mask=real & (t > 0), other=0.0).to(state_type)
        h_t = tl.where(t == 0, initial, h_t)
        g_t = g_t.to(state_type) + tl.where(steps == 0, carry, 0.0)
        _, _, g_t = tl.associative_scan((a_t, tl.full(a_t.shape, 1.0, state_type), g_t), 0, compose_gradients)
        carry = edge(a_t * g_t, steps == BLOCK_T - 1)
        g_t = tl.where(real, g_t, 0.0)
        events = event * D + (d - steps * D)
        tl.store(grad_b + events, g_t, mask=walked_events)
        tl.store(grad_a + events, g_t * h_t, mask=walked_events)
    if CHUNK == 0:
        tl.store(grad_initial + row_state, carry, mask=d < D)


@triton.jit(do_not_specialize=["time", "chunks"])
def _reduce(
    a, b, factors, offsets,
    lengths, time, chunks,
    a_stride: tl.constexpr, b_stride: tl.constexpr,
    D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
    CHUNK: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """The chunk as one step, state -> factor * state + offset; REVERSE: of c <- a_t (grad_hidden_t + c), last first."""
    _row, start, length, begin, end, chunk = locate(lengths, time, chunks, CHUNK)
    state_type = factors.dtype.element_ty
    steps = tl.arange(0, BLOCK_T)[:, None]
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    factor = tl.full((BLOCK_D,), 1.0, state_type)
    offset = tl.zeros((BLOCK_D,), state_type)
    for s0 in tl.range(0, end - begin, BLOCK_T, num_stages=2):
        t = begin + s0 + steps
        if REVERSE:
            t = end - 1 - s0 - steps
        walked_events = (t >= begin) & (t < end) & (d < D)
        real = walked_events & (t < length)
        event = start + t
        a_t = tl.load(a + event * a_stride + d, mask=real, other=1.0).to(state_type)
        if REVERSE:
            b_t = a_t * tl.load(b + event * b_stride + d, mask=walked_events, other=0.0).to(state_type)
        else:
            b_t = tl.load(b + event * b_stride + d, mask=real, other=0.0).to(state_type)
        a_all, b_all = tl.associative_scan((a_t, b_t), 0, compose)
        last_step = steps == BLOCK_T - 1
        factor, offset = compose(factor, offset, edge(a_all, last_step), edge(b_all, last_step))
    slot = tl.program_id(0).to(tl.int64)
    if REVERSE:
        slot += chunks - 1 - 2 * chunk
    tl.store(factors + slot * D + d, factor, mask=d < D)
    tl.store(offsets + slot * D + d, offset, mask=d < D)
