"""Blocks of self-attention: norms behind each part as in SASRec and BERT4Rec, or in front and gated (LiGR)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployrec.models.layers import Dropout

Activation = Literal["gelu", "relu", "swish", "tanh", "sigmoid"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "relu": F.relu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


class Block(nn.Module):
    """Self-attention, then the position-wise feed-forward block, each with a residual and a LayerNorm after it."""

    def __init__(
        self,
        dim: int,
        heads: int,
        inner: int,
        dropout: float,
        activation: Activation = "gelu",
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.ffn_in, self.ffn_out = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.activation = ACTIVATIONS[activation]
        self.ffn_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.dropout = Dropout(dropout)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, D] -> k, v [B, H, T, dh]."""
        return self._split(self.key(x)), self._split(self.value(x))

    def forward(self, x: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
        """x [B, T, D] reads the keys and values [B, H, S, dh] that are visible [B, 1, T, S] (None: S = T, causal)."""
        x = self.attention_norm(self._attend(x, k, v, visible) + x)
        return self.ffn_norm(self.dropout(self.ffn_out(self.activation(self.ffn_in(x)))) + x)

    def _attend(self, x: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
        dropout = self.dropout.p if self.training else 0.0
        read = F.scaled_dot_product_attention(
            self._split(self.query(x)), k, v, visible, dropout_p=dropout, is_causal=visible is None
        )
        out: Tensor = self.dropout(self.out(read.transpose(1, 2).flatten(2)))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class LiGRBlock(Block):
    """The layer of LiGR (Borisyuk et al., arXiv 2502.03417) as eSASRec takes it: norms in front, gated residuals.

    x + sigmoid(x W) * part(norm(x)) for both parts; the feed-forward one is SwiGLU without biases.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        inner: int,
        dropout: float,
        activation: Activation = "gelu",
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__(dim, heads, inner, dropout, activation, norm_eps)
        self.ffn_in, self.ffn_out = nn.Linear(dim, 2 * inner, bias=False), nn.Linear(inner, dim, bias=False)
        self.attention_gate, self.ffn_gate = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().keys_values(self.attention_norm(x))

    def forward(self, x: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
        x = x + torch.sigmoid(self.attention_gate(x)) * self._attend(self.attention_norm(x), k, v, visible)
        gate, value = self.ffn_in(self.ffn_norm(x)).chunk(2, dim=-1)
        return x + torch.sigmoid(self.ffn_gate(x)) * self.dropout(self.ffn_out(self.dropout(F.silu(gate) * value)))
