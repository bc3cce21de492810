"""GRU4Rec: a GRU over item embeddings (Hidasi et al., ICLR 2016), as RecBole has it: no biases, one projection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from deployrec_kernels import gru, gru_step
from torch import Tensor, nn

from deployrec.models.base import SequentialRecommender, context_length
from deployrec.models.layers import Dropout
from deployrec.models.time import calendar_option, time_option
from deployrec.models.unroll import State
from deployrec.options import option
from deployrec.state import StateSpec, StateTensor


@dataclass(frozen=True)
class GRU4RecConfig:
    dim: int = option(64, "width of items and users", at_least=1, at_most=8192)
    hidden: int = option(128, "width of a layer", at_least=1, at_most=8192)
    layers: int = option(1, "GRUs on top of each other", at_least=1, at_most=64)
    dropout: float = option(0.3, "on embeddings", at_least=0, below=1)
    context_length: int = context_length()
    time: bool = time_option()
    calendar: bool = calendar_option()


class GRU4Rec(SequentialRecommender):
    """Layers of GRUs of one width, then a projection back to the items' width; state: 0.5 KiB a user."""

    config_class = GRU4RecConfig

    def __init__(self, num_items: int, config: GRU4RecConfig) -> None:
        tensors = tuple(StateTensor(f"{layer}.hidden", (config.hidden,)) for layer in range(config.layers))
        super().__init__(num_items, config, StateSpec(tensors, config.context_length or None))
        widths = [config.dim] + [config.hidden] * (config.layers - 1)
        self.to_gates = nn.ModuleList(nn.Linear(width, 3 * config.hidden, bias=False) for width in widths)
        self.recurrent = nn.ModuleList(nn.Linear(config.hidden, 3 * config.hidden, bias=False) for _ in widths)
        self.out = nn.Linear(config.hidden, config.dim)
        self.dropout = Dropout(config.dropout)
        self.apply(initialise)

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        hidden, present = self._scan(items, lengths, state)
        return self.out(hidden), present

    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        _, present = self._scan(items, lengths, state)
        return self._read(present), present

    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        present: State = {}
        x = self.dropout(self.embedding(items))
        for name, to_gates, recurrent_weight in self._layers():
            x = present[name] = gru_step(to_gates(x), recurrent_weight, state[name])
        return self._read(present), present

    def _scan(self, items: Tensor, lengths: Tensor, state: State | None) -> tuple[Tensor, State]:
        """items [B, T] -> (the last layer's hidden [B, T, H], state)."""
        state = self.initial_state(items.shape[0]) if state is None else state
        present: State = {}
        x = self.dropout(self.embedding(items))
        for name, to_gates, recurrent_weight in self._layers():
            x, present[name] = gru(to_gates(x), recurrent_weight, initial_state=state[name], lengths=lengths)
        return x, present

    def _layers(self) -> Iterator[tuple[str, nn.Module, Tensor]]:
        """Of each layer: its state's name, its input product and its recurrent weight [3H, H]."""
        for layer, (to_gates, recurrent) in enumerate(zip(self.to_gates, self.recurrent, strict=True)):
            yield f"{layer}.hidden", to_gates, cast(nn.Linear, recurrent).weight

    def _read(self, state: State) -> Tensor:
        """The user vector [B, D]: a GRU's newest output is its state."""
        newest: Tensor = self.out(state[f"{self.config.layers - 1}.hidden"])
        return newest


def initialise(module: nn.Module) -> None:
    """Xavier normal embeddings, Xavier uniform linears, zero biases."""
    if isinstance(module, nn.Embedding):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.weight[0])
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
