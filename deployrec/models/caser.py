"""Caser: convolutions over the last few items (Tang & Wang, WSDM 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployrec.models.base import SequentialRecommender
from deployrec.models.layers import Dropout, initialise, newest
from deployrec.models.taste import Taste
from deployrec.models.unroll import State
from deployrec.options import option
from deployrec.state import StateSpec, StateTensor


@dataclass(frozen=True)
class CaserConfig:
    dim: int = option(64, "width of items and users", at_least=1, at_most=8192)
    last: int = option(5, "newest items that are read", at_least=2, at_most=64)
    horizontal: int = option(16, "filters of each height, over whole items", at_least=1, at_most=8192)
    vertical: int = option(4, "filters over each channel by itself", at_least=1, at_most=8192)
    dropout: float = option(0.3, "behind the filters", at_least=0, below=1)


class Caser(SequentialRecommender):
    """Horizontal filters, whose largest answer counts, and vertical ones; with the user's taste a user vector.

    The published user factor, a table that knows who was there in training, is a running mean of the items' vectors
    (see `Taste`). State: the last items but the newest, and the taste; 1.25 KiB a user.
    """

    config_class = CaserConfig

    def __init__(self, num_items: int, config: CaserConfig) -> None:
        recent = StateTensor("0.recent", (config.last - 1, config.dim))
        super().__init__(num_items, config, StateSpec((recent, StateTensor("0.taste", (config.dim,)))))
        heights = range(1, config.last + 1)
        self.horizontal = nn.ModuleList(nn.Linear(height * config.dim, config.horizontal) for height in heights)
        self.vertical = nn.Linear(config.last, config.vertical)
        answers = config.last * config.horizontal + config.vertical * config.dim
        self.read = nn.Linear(answers, config.dim)
        self.out = nn.Linear(2 * config.dim, config.dim)
        self.taste = Taste(config.dim)
        self.dropout = Dropout(config.dropout)
        self.apply(initialise)

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        window, tastes, present = self._read_items(items, lengths, state)
        return self._user(window.unfold(1, self.config.last, 1).transpose(2, 3), tastes), present

    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        window, _, present = self._read_items(items, lengths, state)
        # Of a row without events, whose user vector nobody reads, the newest are fewer.
        last = newest(window, (lengths - 1).clamp(min=0), self.config.last)
        return self._user(last, present["0.taste"]), present

    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        x = self.embedding(items)
        window = torch.cat([state["0.recent"], x.unsqueeze(1)], 1)
        taste = self.taste.step(x, state["0.taste"])
        return self._user(window, taste), {"0.recent": window[:, 1:], "0.taste": taste}

    def _read_items(self, items: Tensor, lengths: Tensor, state: State | None) -> tuple[Tensor, Tensor, State]:
        """The items before and now [B, L - 1 + T, D], the taste after each [B, T, D], and the state."""
        state = self.initial_state(items.shape[0]) if state is None else state
        x = self.embedding(items)
        window = torch.cat([state["0.recent"], x], 1)
        tastes, final = self.taste.encode(x, lengths, state["0.taste"])
        return window, tastes, {"0.recent": newest(window, lengths, self.config.last - 1), "0.taste": final}

    def _user(self, last: Tensor, taste: Tensor) -> Tensor:
        """The last items [..., L, D] and tastes [..., D] -> user vectors [..., D]."""
        answers = []
        for height, filters in enumerate(self.horizontal, start=1):
            places = range(self.config.last - height + 1)
            seen = torch.stack([last[..., place : place + height, :].flatten(-2) for place in places], -2)
            answers.append(F.relu(filters(seen)).amax(-2))
        answers.append(self.vertical(last.transpose(-1, -2)).flatten(-2))
        z = F.relu(self.read(self.dropout(torch.cat(answers, -1))))
        user: Tensor = self.out(torch.cat([z, taste], -1))
        return user
