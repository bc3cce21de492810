"""The contract every recommender fulfils; training, export and serving know models only through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployrec.state import StateSpec

State = dict[str, Tensor]
"""State tensors by the names of the model's `state_spec`, each with a batch axis in front."""


class SequentialRecommender(nn.Module, ABC):
    """Predicts a user's next item from the items before it.

    Rows are right-padded with 0 and cut off at `lengths`; a row of length 0 keeps its state. The invariant every
    model keeps, for any split of a history `a + b`, up to `state_spec.exact_up_to`:

        encode(a + b) == encode(b, state=encode(a).state) == step, step, ...
    """

    key: ClassVar[str]
    config_class: ClassVar[type]
    padding_mask: Tensor

    def __init__(self, num_items: int, config: Any, state_spec: StateSpec) -> None:
        super().__init__()
        self.num_items = num_items
        self.config = config
        self.state_spec = state_spec
        self.embedding = nn.Embedding(num_items + 1, config.dim, padding_idx=0)
        mask = torch.zeros(num_items + 1)
        mask[0] = -torch.inf
        self.register_buffer("padding_mask", mask, persistent=False)

    def initial_state(self, batch: int) -> State:
        """Zeros: the state of `batch` users without events."""
        weight = self.embedding.weight
        return {t.name: weight.new_zeros(batch, *t.shape) for t in self.state_spec.tensors}

    @abstractmethod
    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Reads items [B, T] int64 with lengths [B] int64; returns hidden [B, T, D] and the state after each row's end.

        Positions at or beyond a row's length hold unspecified values.
        """

    @abstractmethod
    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Like `encode`, but computes only the user vector [B, D] after each row's last event.

        The user vector of a row of length 0 is unspecified.
        """

    @abstractmethod
    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads one event a row, items [B] int64; returns the user vector [B, D] and the new state."""

    def score(self, user: Tensor) -> Tensor:
        """Scores [..., N + 1] of all items for user vectors [..., D]; column 0 (padding) is -inf."""
        return F.linear(user, self.embedding.weight, self.padding_mask)

    def config_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        return asdict(self.config)
