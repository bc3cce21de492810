"""Device functions the Triton kernels share: which events a program walks, and how recurrences compose."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def compose(a, b, a_next, b_next):
    """h -> a_next (a h + b) + b_next, as the pair (factor, offset)."""
    return a_next * a, a_next * b + b_next


@triton.jit
def compose_gradients(a, p, g, a_earlier, p_earlier, g_earlier):
    """Backwards in time: with c from later events, the gradient at an event is p c + g; it hands on a times that."""
    through = p_earlier * a
    return a_earlier, through * p, through * g + g_earlier


@triton.jit
def edge(x, is_edge):
    """The one row of a tile [T, D] where is_edge [T, 1] holds."""
    return tl.sum(tl.where(is_edge, x, 0.0), 0)


@triton.jit
def locate(lengths, time, chunks, CHUNK: tl.constexpr):
    """The events of this program: (row, the row's first event in memory, its length, begin, end, chunk of the row).

    begin and end count from the row's first event; the last chunk ends at `time`.
    """
    row = tl.program_id(0)
    chunk = 0
    begin = 0
    end = time
    if CHUNK > 0:
        chunk = row % chunks
        row = row // chunks
        begin = chunk * CHUNK
        end = tl.minimum(begin + CHUNK, time)
    length = tl.minimum(tl.load(lengths + row).to(tl.int32), time)
    return row, row.to(tl.int64) * time, length, begin, end, chunk


@triton.jit
def tanh(x):
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def softplus(x):
    """log(1 + exp(x)); in float32 by the series of log1p on (0, 1], which keeps every digit of a small result."""
    e = tl.exp(-tl.abs(x))
    if x.dtype == tl.float64:
        tail = tl.log(1.0 + e)
    else:
        s = e / (2.0 + e)
        q = s * s
        tail = 2.0 * s * (1.0 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13)))))))
    return tl.maximum(x, 0.0) + tail
