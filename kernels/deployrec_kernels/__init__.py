"""Recurrences over time as torch operators: one call, one graph node, CPU and CUDA behind it.

Equivalent to:

    for t in range(T):
        state = a[:, t] * state + b[:, t]        # linear_recurrence; the others differ in this line only
        hidden[:, t] = state
"""

from deployrec_kernels.bd_lru.op import bd_lru
from deployrec_kernels.gru.op import gru
from deployrec_kernels.linear_attention.op import linear_attention
from deployrec_kernels.linear_recurrence.op import linear_recurrence

__all__ = ["bd_lru", "gru", "linear_attention", "linear_recurrence"]
