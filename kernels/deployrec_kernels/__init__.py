"""Recurrences over time as torch operators: one call, one graph node, CPU and CUDA behind it.

Equivalent to:

    for t in range(T):
        state = linear_recurrence_step(a[:, t], b[:, t], state)  # a * state + b; the others differ in this line only
        hidden[:, t] = state
"""

from deployrec_kernels.bd_lru.op import bd_lru
from deployrec_kernels.bd_lru.step import bd_lru_step
from deployrec_kernels.gru.op import gru
from deployrec_kernels.gru.step import gru_step
from deployrec_kernels.linear_attention.op import linear_attention
from deployrec_kernels.linear_attention.step import linear_attention_read, linear_attention_step
from deployrec_kernels.linear_recurrence.op import linear_recurrence
from deployrec_kernels.linear_recurrence.step import linear_recurrence_step

__all__ = [
    "bd_lru",
    "bd_lru_step",
    "gru",
    "gru_step",
    "linear_attention",
    "linear_attention_read",
    "linear_attention_step",
    "linear_recurrence",
    "linear_recurrence_step",
]
