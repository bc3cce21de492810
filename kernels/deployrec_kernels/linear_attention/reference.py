"""The definition, one step after the other, any dtype."""

from __future__ import annotations

import torch
from torch import Tensor

from deployrec_kernels.linear_attention.step import linear_attention_read, linear_attention_step
from deployrec_kernels.reference import unroll


def linear_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, initial_state: Tensor | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """S_t = S_{t-1} + k_t^T v_t, out_t = q_t S_t, 0 at padding; q, k, v [B, T, H, dh] -> out, S [B, H, dh, dh]."""
    batch, time, heads, width = q.shape
    start = q.new_zeros(batch, heads, width, width) if initial_state is None else initial_state
    states, final = unroll(lambda *events: linear_attention_step(*events)[1], (q, k, v), start, lengths)
    out = linear_attention_read(q, states)
    if lengths is not None:
        out = torch.where((torch.arange(time, device=q.device) < lengths[:, None])[..., None, None], out, 0.0)
    return out, final
