"""An LSTM over item embeddings; its state is one hidden and one cell vector a user."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deployrec.models import SequentialRecommender, State, unroll
from deployrec.options import option
from deployrec.state import StateSpec, StateTensor


@dataclass(frozen=True)
class LSTMConfig:
    dim: int = option(64, "width of items and users", at_least=1, at_most=8192)
    hidden: int = option(128, "width of the hidden and the cell vector", at_least=1, at_most=8192)
    dropout: float = option(0.2, "on embeddings", at_least=0, below=1)


class LSTM(SequentialRecommender):
    """Embedding, one LSTM, and a projection back to the items' width; state: 1 KiB a user."""

    config_class = LSTMConfig

    def __init__(self, num_items: int, config: LSTMConfig) -> None:
        state = (StateTensor("0.hidden", (config.hidden,)), StateTensor("0.cell", (config.hidden,)))
        super().__init__(num_items, config, StateSpec(state))
        self.to_gates = nn.Linear(config.dim, 4 * config.hidden)
        self.recurrent = nn.Linear(config.hidden, 4 * config.hidden, bias=False)
        self.out = nn.Linear(config.hidden, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.normal_(self.embedding.weight[1:], std=config.dim**-0.5)

    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, state = self.cell(self.gates(items), state)
        return self.out(hidden), state

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        # The default would take `step` over time. All input products at once, before the loop, are cheaper.
        state = self.initial_state(items.shape[0]) if state is None else state
        hidden, state = unroll(self.cell, (self.gates(items),), state, lengths)
        return self.out(hidden), state

    def gates(self, items: Tensor) -> Tensor:
        """items [...] -> the gates' input products [..., 4H]."""
        return self.to_gates(self.dropout(self.embedding(items)))

    def cell(self, gates: Tensor, state: State) -> tuple[Tensor, State]:
        """One event: gates [B, 4H] -> (hidden [B, H], state)."""
        i, f, g, o = (gates + self.recurrent(state["0.hidden"])).chunk(4, dim=-1)
        cell = torch.sigmoid(f) * state["0.cell"] + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        return hidden, {"0.hidden": hidden, "0.cell": cell}
