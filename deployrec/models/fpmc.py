"""FPMC: factorised personalised Markov chains (Rendle et al., WWW 2010)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deployrec.errors import ConfigError
from deployrec.models.base import SequentialRecommender
from deployrec.models.layers import Dropout, at_last
from deployrec.models.taste import Taste
from deployrec.models.unroll import State
from deployrec.options import option
from deployrec.state import StateSpec, StateTensor


@dataclass(frozen=True)
class FPMCConfig:
    dim: int = option(
        128, "width of items: half of it meets the user's factor, half the last item; even", at_least=2, at_most=8192
    )
    dropout: float = option(0.2, "on both factors", at_least=0, below=1)

    def __post_init__(self) -> None:
        if self.dim % 2:
            raise ConfigError(f"expected dim an even number; got {self.dim}; add one")


class FPMC(SequentialRecommender):
    """score(u, l, i) = <U_u, I_i> + <L_l, I'_i>: a user's taste, and what follows the last item.

    U_u is a running mean (see `Taste`) over a table of item vectors, so that a user who came after training has one
    too; the last item needs no memory. State: 256 bytes a user at d=128.
    """

    config_class = FPMCConfig

    def __init__(self, num_items: int, config: FPMCConfig) -> None:
        half = config.dim // 2
        super().__init__(num_items, config, StateSpec((StateTensor("0.taste", (half,)),)))
        self.tastes = nn.Embedding(num_items + 1, half, padding_idx=0)
        self.last = nn.Embedding(num_items + 1, half, padding_idx=0)
        self.taste = Taste(half)
        self.dropout = Dropout(config.dropout)
        self.apply(initialise)

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        means, final = self._means(items, lengths, state)
        return self._user(means, items), {"0.taste": final}

    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        _, final = self._means(items, lengths, state)
        return self._user(final, at_last(items.unsqueeze(2), lengths).squeeze(1)), {"0.taste": final}

    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        mean = self.taste.step(self.tastes(items), state["0.taste"])
        return self._user(mean, items), {"0.taste": mean}

    def _means(self, items: Tensor, lengths: Tensor, state: State | None) -> tuple[Tensor, Tensor]:
        state = self.initial_state(items.shape[0]) if state is None else state
        return self.taste.encode(self.tastes(items), lengths, state["0.taste"])

    def _user(self, mean: Tensor, items: Tensor) -> Tensor:
        """means [..., D/2] and the last items [...] -> user vectors [..., D]."""
        user: Tensor = self.dropout(torch.cat([mean, self.last(items)], dim=-1))
        return user


def initialise(module: nn.Module) -> None:
    """Xavier normal for all tables, as RecBole has it; the padding's vectors are zero."""
    if isinstance(module, nn.Embedding):
        nn.init.xavier_normal_(module.weight)
        with torch.no_grad():
            module.weight[0].zero_()
