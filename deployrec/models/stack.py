"""Recurrent layers on top of each other over normalised item embeddings: what RecBLR, LRURec and Mamba4Rec share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, cast

from torch import Tensor, nn

from deployrec.models.base import SequentialRecommender
from deployrec.models.layers import Dropout
from deployrec.models.unroll import State
from deployrec.state import StateSpec, StateTensor


class Layer(Protocol):
    """Reads x [B, T, D] or, step by step, [B, D]; every call returns the output and the layer's part of the state."""

    @property
    def state_tensors(self) -> tuple[StateTensor, ...]:
        """What the layer remembers of a user."""

    def encode(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x' [B, T, D]."""

    def encode_last(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x' [B, D] after each row's last event."""

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x' [B, D]."""


class Stack(SequentialRecommender):
    """LayerNorm(Dropout(embedding)), then the layers; the last one's output is the user vector."""

    def __init__(self, num_items: int, config: Any, layers: Iterable[Layer], context_length: int = 0) -> None:
        super().__init__(num_items, config, StateSpec())
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(cast("Iterable[nn.Module]", layers))
        self.state_spec = StateSpec(
            tuple(t for layer in self._blocks for t in layer.state_tensors), context_length or None
        )

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._encode(items, lengths, state, last_only=False)

    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._encode(items, lengths, state, last_only=True)

    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        present: State = {}
        x = self.norm(self.dropout(self.embedding(items)))
        for layer in self._blocks:
            x, carried = layer.step(x, state)
            present |= carried
        return x, present

    def _encode(self, items: Tensor, lengths: Tensor, state: State | None, last_only: bool) -> tuple[Tensor, State]:
        state = self.initial_state(items.shape[0]) if state is None else state
        present: State = {}
        x = self.norm(self.dropout(self.embedding(items)))
        for number, layer in enumerate(self._blocks):
            final = last_only and number == len(self.layers) - 1
            x, carried = (layer.encode_last if final else layer.encode)(x, lengths, state)
            present |= carried
        return x, present

    @property
    def _blocks(self) -> list[Layer]:
        return cast("list[Layer]", list(self.layers))
