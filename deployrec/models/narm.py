"""NARM: a GRU, and attention over its states (Li et al., CIKM 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from deployrec_kernels import gru
from torch import Tensor, nn

from deployrec.models.base import Histories, Preset, SequentialRecommender
from deployrec.models.layers import Dropout, at_last, initialise
from deployrec.models.unroll import State
from deployrec.options import option
from deployrec.state import StateSpec


@dataclass(frozen=True)
class NARMConfig:
    dim: int = option(64, "width of items and users", at_least=1, at_most=8192)
    hidden: int = option(128, "width of the GRU", at_least=1, at_most=8192)
    window: int = option(50, "newest events that are read", at_least=1, at_most=16384)
    dropout: float = option(0.25, "on embeddings, and half as much again on what is read", at_least=0, below=0.66)


class NARM(SequentialRecommender):
    """What the GRU's last state says, and a sum of all its states weighted by their likeness to the last.

    The weights v . sigmoid(A_1 h_t + A_2 h_j) of every earlier state depend on the last one, so that no state of a
    constant size can stand for them: the model reads its window again at each event.
    """

    config_class = NARMConfig

    def __init__(self, num_items: int, config: NARMConfig) -> None:
        super().__init__(num_items, config, StateSpec((), config.window))
        hidden = config.hidden
        self.to_gates = nn.Linear(config.dim, 3 * hidden, bias=False)
        self.recurrent = nn.Linear(hidden, 3 * hidden, bias=False)
        self.to_query, self.to_key = nn.Linear(hidden, hidden, bias=False), nn.Linear(hidden, hidden, bias=False)
        self.weight = nn.Linear(hidden, 1, bias=False)
        self.out = nn.Linear(2 * hidden, config.dim, bias=False)
        self.dropout, self.last_dropout = Dropout(config.dropout), Dropout(1.5 * config.dropout)
        self.apply(initialise)

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        states = self._states(items, lengths)
        causal = torch.ones(items.shape[1], items.shape[1], dtype=torch.bool, device=items.device).tril()
        return self._user(states, states, causal & valid(items, lengths).unsqueeze(1)), {}

    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        states = self._states(items, lengths)
        last = at_last(states, lengths).unsqueeze(1)
        return self._user(last, states, valid(items, lengths).unsqueeze(1)).squeeze(1), {}

    def _states(self, items: Tensor, lengths: Tensor) -> Tensor:
        """The GRU's states [B, T, H]."""
        x = self.dropout(self.embedding(items))
        return gru(self.to_gates(x), self.recurrent.weight, lengths=lengths)[0]

    def _user(self, last: Tensor, states: Tensor, seen: Tensor) -> Tensor:
        """last [B, Q, H] and states [B, T, H] that each sees [B, Q, T] -> user vectors [B, Q, D]."""
        likeness = torch.sigmoid(self.to_query(last).unsqueeze(2) + self.to_key(states).unsqueeze(1))
        weights = self.weight(likeness).squeeze(3) * seen
        # Behind a row's end a state may be anything, and zero times it as well.
        local = weights @ torch.where(seen.any(1).unsqueeze(2), states, 0)
        user: Tensor = self.out(self.last_dropout(torch.cat([last, local], -1)))
        return user

    @classmethod
    def preset(cls, name: Literal["quick", "full"], histories: Histories) -> Preset:
        # What attends among all pairs of a window is trained on the window that it serves.
        return Preset({"dropout": 0.4 if histories == "short" else 0.1}, {"window": cls.config_class().window})


def valid(items: Tensor, lengths: Tensor) -> Tensor:
    """Which of items [B, T] lie before each row's end."""
    return torch.arange(items.shape[1], device=items.device) < lengths.unsqueeze(1)
