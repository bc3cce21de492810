"""Causal linear attention in chunks: matrix products only, so every device, compiler and exporter runs it as it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deployrec_kernels.rows import padding_mask, promote, row_arguments, same_shapes, state_dtype

CHUNK = 32
"""Events per chunk: within a chunk the cost per event grows with it, between chunks with dh * dh / CHUNK."""


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    initial_state: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """S_t = S_{t-1} + k_t^T v_t and out_t = q_t S_t per head; no scaling and no normalisation.

    q, k, v: [B, T, H, dh] float32, bfloat16 or float64.  initial_state: [B, H, dh, dh], zeros by default.
    lengths: [B] int64; behind them the state is kept and out is 0.
    Returns out [B, T, H, dh] in the dtype of v and the final state, float32 for every input but float64: the state
    never decays, so a bfloat16 sum would stop growing. Raises ValueError on shapes that do not fit.
    Source: Katharopoulos et al., 2020, eqs. 16-20 with a feature map left to the caller; chunks as in Sun et al., 2023.
    """
    same_shapes(q=q, k=k, v=v)
    heads, width = q.shape[-2:]
    initial_state, lengths = row_arguments(q, 4, (heads, width, width), initial_state, lengths)
    output_dtype = v.dtype
    q, k, v = (x.to(state_dtype(output_dtype)) for x in promote(q, k, v))
    with torch.autocast(q.device.type, enabled=False):
        out, state = _in_chunks(q, k, v, initial_state, lengths)
    return out.to(output_dtype), state


def _in_chunks(q: Tensor, k: Tensor, v: Tensor, initial_state: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    batch, time, heads, width = q.shape
    padding = padding_mask(lengths, time).unsqueeze(-1)
    # Traced, an axis of 1 chunk would be fixed to 1: there an empty chunk more is carried along.
    chunks = (time + CHUNK * (2 if torch.compiler.is_compiling() else 1) - 1) // CHUNK
    filler = (0, 0, 0, 0, 0, chunks * CHUNK - time)
    q, k, v = (
        F.pad(x.masked_fill(padding, 0.0), filler).reshape(batch, chunks, CHUNK, heads, width).transpose(2, 3)
        for x in (q, k, v)
    )
    sums = (k.transpose(-1, -2) @ v).cumsum(1) + initial_state.unsqueeze(1)
    before = torch.cat((initial_state.unsqueeze(1), sums), 1)
    out = q @ before[:, :-1] + (q @ k.transpose(-1, -2)).tril() @ v
    out = out.transpose(2, 3).reshape(batch, chunks * CHUNK, heads, width)
    if torch.compiler.is_compiling():
        events = torch.arange(time, device=out.device)  # a slice would compare its end with the unknown size
        return out.index_select(1, events), before[:, -1].clone()
    return out[:, :time], before[:, -1].clone()
