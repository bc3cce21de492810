"""BERT4Rec: a bidirectional Transformer that guesses masked items (Sun et al., CIKM 2019)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployrec.models.base import Histories, Preset
from deployrec.models.layers import Dropout, check_heads, initialise
from deployrec.models.prefixes import PrefixRecommender
from deployrec.models.transformer import Block
from deployrec.models.unroll import State
from deployrec.options import option

LAST_ALONE = 0.25
"""Share of the training rows that mask their last item only, as serving does."""


@dataclass(frozen=True)
class BERT4RecConfig:
    dim: int = option(64, "width of items, users and blocks; a multiple of heads", at_least=1, at_most=8192)
    window: int = option(199, "newest events that are read", at_least=1, at_most=16383)
    layers: int = option(2, "blocks on top of each other", at_least=1, at_most=64)
    heads: int = option(2, "heads of the attention", at_least=1, at_most=8192)
    masked: float = option(0.2, "share of a training row's items that are guessed", above=0, below=1)
    dropout: float = option(0.2, "everywhere", at_least=0, below=1)

    def __post_init__(self) -> None:
        check_heads(self.dim, self.heads)


class BERT4Rec(PrefixRecommender):
    """Reads the window with a mask behind its newest event, and answers with what stands at the mask.

    Every event sees the later ones, so that a new one changes them all: there is no state, and the window is read
    again at each event. Positions are counted from the end; of the published output only the item biases are left out.
    """

    config_class = BERT4RecConfig

    def __init__(self, num_items: int, config: BERT4RecConfig) -> None:
        super().__init__(num_items, config, config.window)
        self.mask = nn.Parameter(0.02 * torch.randn(config.dim))
        self.ages = nn.Embedding(config.window + 1, config.dim)
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, 4 * config.dim, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.out = nn.Linear(config.dim, config.dim)
        self.out_norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.dropout = Dropout(config.dropout)
        self.apply(initialise)

    def read(self, items: Tensor) -> Tensor:
        at_end = F.pad(torch.zeros_like(items, dtype=torch.bool), (0, 1), value=True)
        ages = torch.arange(items.shape[1], -1, -1, device=items.device)
        hidden = self._bidirectional(F.pad(items, (0, 1)), at_end, ages, F.pad(items > 0, (0, 1), value=True))
        return self._answer(hidden[:, -1])

    def predict(
        self, items: Tensor, lengths: Tensor, targets: Tensor, state: State | None = None
    ) -> tuple[Tensor, Tensor]:
        sequence = torch.cat([items[:, :1], targets], 1)
        place = torch.arange(sequence.shape[1], device=items.device)
        last, real = place == lengths.unsqueeze(1), sequence > 0
        # The item in front of the first is none that a target asks for.
        drawn = (torch.rand(sequence.shape, device=items.device) < self.config.masked) & real & (place > 0)
        alone = torch.rand(len(items), 1, device=items.device) < LAST_ALONE
        guessed = torch.where(alone | ~drawn.any(1, keepdim=True), last & real, drawn)
        ages = (lengths.unsqueeze(1) - place).clamp(min=0)
        hidden = self._bidirectional(sequence, guessed, ages, real)
        return self._answer(hidden[guessed]), targets * guessed[:, 1:]

    def _bidirectional(self, items: Tensor, masked: Tensor, ages: Tensor, real: Tensor) -> Tensor:
        """Hidden [B, T, D] of items [B, T], those `masked` unseen, which see the `real` ones, before and behind."""
        x = torch.where(masked.unsqueeze(2), self.mask, self.embedding(items))
        x = self.dropout(self.norm(x + self.ages(ages)))
        for block in cast("Iterable[Block]", self.blocks):
            x = block(x, *block.keys_values(x), real[:, None, None])
        return x

    def _answer(self, hidden: Tensor) -> Tensor:
        user: Tensor = self.out_norm(F.gelu(self.out(hidden)))
        return user

    @classmethod
    def preset(cls, name: Literal["quick", "full"], histories: Histories) -> Preset:
        # Positions beyond the training's windows would never be learnt. A fifth of a row's items are guessed, so that
        # it learns for longer than others, and little at first.
        window = 49 if histories == "short" else 199
        recipe = {"window": window, "learning_rate": 1e-3, "patience": 10}
        return Preset({"dropout": 0.2, "window": window}, recipe)
