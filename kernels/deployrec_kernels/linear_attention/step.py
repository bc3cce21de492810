"""One event of linear attention; T of them are `linear_attention`."""

from __future__ import annotations

from torch import Tensor


def linear_attention_step(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """S' = S + k^T v and what q reads of it; q, k, v [B, H, dh], state [B, H, dh, dh] -> (out [B, H, dh], S')."""
    state = state + k.unsqueeze(-1) * v.unsqueeze(-2)
    return linear_attention_read(q, state), state


def linear_attention_read(q: Tensor, state: Tensor) -> Tensor:
    """q S per head: q [B, H, dh], state [B, H, dh, dh] -> [B, H, dh]."""
    return (q.unsqueeze(-2) @ state).squeeze(-2)
