"""BERT4Rec as RecBole answers with it, for its checkpoints; deployrec.models.bert4rec is what is trained here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployrec.models.layers import Dropout, check_heads, initialise
from deployrec.models.prefixes import PrefixRecommender
from deployrec.models.transformer import Activation, Block
from deployrec.options import option


@dataclass(frozen=True)
class RecBoleBERT4RecConfig:
    dim: int = option(65, "width of the blocks and one, for the items' biases", at_least=2, at_most=8193)
    window: int = option(50, "newest events that are read, the first of which is not seen", at_least=1, at_most=16384)
    layers: int = option(2, "blocks on top of each other", at_least=1, at_most=64)
    heads: int = option(2, "heads of the attention", at_least=1, at_most=8192)
    inner: int = option(256, "inner width of the feed-forward block", at_least=1, at_most=65536)
    activation: Activation = option("gelu", "of the feed-forward block")
    norm_eps: float = option(1e-12, "added to the variance by every LayerNorm", at_least=0, at_most=1)
    dropout: float = option(0.2, "everywhere", at_least=0, below=1)

    def __post_init__(self) -> None:
        check_heads(self.dim - 1, self.heads)


class RecBoleBERT4Rec(PrefixRecommender):
    """Reads the window but for its oldest event, positions counted from there, with a mask behind; items have biases.

    The bias is an item vector's last entry, and the user vector's is one.
    """

    config_class = RecBoleBERT4RecConfig

    def __init__(self, num_items: int, config: RecBoleBERT4RecConfig) -> None:
        super().__init__(num_items, config, config.window)
        width, eps = config.dim - 1, config.norm_eps
        self.mask = nn.Parameter(0.02 * torch.randn(width))
        self.positions = nn.Embedding(config.window, width)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.inner, config.dropout, config.activation, eps)
            for _ in range(config.layers)
        )
        self.norm, self.out_norm = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.out = nn.Linear(width, width)
        self.dropout = Dropout(config.dropout)
        self.apply(initialise)

    def read(self, items: Tensor) -> Tensor:
        real = items > 0
        # RecBole puts the mask behind a row and then cuts off the row's front.
        count = real.long().cumsum(1)
        place = torch.cat([count - 2, count[:, -1:] - 1], 1)
        x = torch.cat([self.embedding(items)[..., :-1], self.mask.expand(len(items), 1, -1)], 1)
        x = self.dropout(self.norm(x + self.positions(place.clamp(min=0))))
        seen = F.pad(real & (place[:, :-1] >= 0), (0, 1), value=True)[:, None, None]
        for block in cast("Iterable[Block]", self.blocks):
            x = block(x, *block.keys_values(x), seen)
        answer = self.out_norm(F.gelu(self.out(x[:, -1])))
        return F.pad(answer, (0, 1), value=1.0)
