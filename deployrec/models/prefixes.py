"""Models that read a whole history for one answer: nothing that they compute for one event serves the next."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deployrec.models.base import SequentialRecommender
from deployrec.models.layers import newest
from deployrec.models.unroll import State
from deployrec.state import StateSpec

POSITIONS = 0.1
"""Share of the positions that an epoch trains on, each of which costs a window."""


class PrefixRecommender(SequentialRecommender):
    """Has no state; defines `read`, of the newest `window` events. `encode` reads the window of every position anew."""

    def __init__(self, num_items: int, config: Any, window: int) -> None:
        super().__init__(num_items, config, StateSpec((), window))
        self.window = window

    def read(self, items: Tensor) -> Tensor:
        """items [B, W] int64, the newest last and 0 in front of short histories -> user vectors [B, D]."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it reads")

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        hidden = self.read(self.windows(items).flatten(0, 1))
        return hidden.unflatten(0, items.shape), {}

    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        behind = F.pad(items, (self.window, 0)).unsqueeze(2)
        return self.read(newest(behind, lengths, self.window).squeeze(2)), {}

    def predict(
        self, items: Tensor, lengths: Tensor, targets: Tensor, state: State | None = None
    ) -> tuple[Tensor, Tensor]:
        chosen = (torch.rand(targets.shape, device=targets.device) < POSITIONS) & (targets > 0)
        chosen[0, 0] = True  # a batch of a few short rows may have none
        return self.read(self.windows(items)[chosen]), targets * chosen

    def windows(self, items: Tensor) -> Tensor:
        """Of items [B, T] the newest W at every position, [B, T, W], 0 in front."""
        return F.pad(items, (self.window - 1, 0)).unfold(1, self.window, 1)
