"""FMLP-Rec: learnable filters in the frequency domain in the place of attention (Zhou et al., WWW 2022)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployrec.models.base import Histories, Preset
from deployrec.models.layers import Dropout, FeedForward, initialise
from deployrec.models.prefixes import PrefixRecommender
from deployrec.options import option

NEWEST = slice(-1, None)


@dataclass(frozen=True)
class FMLPRecConfig:
    dim: int = option(64, "width of items, users and layers", at_least=1, at_most=8192)
    window: int = option(50, "newest events that are read", at_least=2, at_most=16384)
    layers: int = option(2, "filters on top of each other", at_least=1, at_most=64)
    dropout: float = option(0.3, "everywhere", at_least=0, below=1)


class FilterLayer(nn.Module):
    """y = F^-1(F(x) * W), a residual and a norm; then the feed-forward block.

    F is the real discrete Fourier transform over the window's W places, its W // 2 + 1 frequencies written as a product
    with cosines and one with sines, which every runtime knows.
    """

    forward_cos: Tensor
    forward_sin: Tensor
    back_cos: Tensor
    back_sin: Tensor

    def __init__(self, config: FMLPRecConfig) -> None:
        super().__init__()
        for name, matrix in fourier(config.window).items():
            self.register_buffer(name, matrix, persistent=False)
        self.filter = nn.Parameter(0.02 * torch.randn(2, config.window // 2 + 1, config.dim))
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.feed_forward = FeedForward(config.dim, config.dropout, F.gelu)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, places: slice = slice(None)) -> Tensor:
        """x [B, W, D] -> [B, P, D] of those of the W places that are asked for."""
        real, imaginary = self.forward_cos @ x, self.forward_sin @ x
        (a, b), cos, sin = self.filter, self.back_cos[places], self.back_sin[places]
        y = cos @ (real * a - imaginary * b) + sin @ (real * b + imaginary * a)
        filtered: Tensor = self.feed_forward(self.norm(self.dropout(y) + x[:, places]))
        return filtered


class FMLPRec(PrefixRecommender):
    """Filters over the whole window, which is a circle to them: the newest event moves every place.

    There is no state, and the window is read again at each event; as published, short histories have zeros and their
    positions in front.
    """

    config_class = FMLPRecConfig

    def __init__(self, num_items: int, config: FMLPRecConfig) -> None:
        super().__init__(num_items, config, config.window)
        self.positions = nn.Parameter(0.02 * torch.randn(config.window, config.dim))
        self.layers = nn.ModuleList(FilterLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.dropout = Dropout(config.dropout)
        self.apply(initialise)

    def read(self, items: Tensor) -> Tensor:
        x = self.dropout(self.norm(self.embedding(items) + self.positions))
        *earlier, last = cast("Iterable[FilterLayer]", self.layers)
        for layer in earlier:
            x = layer(x)
        return last(x, NEWEST).squeeze(1)

    @classmethod
    def preset(cls, name: Literal["quick", "full"], histories: Histories) -> Preset:
        options, recipe = super().preset(name, histories)
        if histories == "short":
            options["dropout"] = 0.2
        recipe["window"] = 50
        return Preset(options, recipe)


def fourier(places: int) -> dict[str, Tensor]:
    """Matrices of the orthonormal real transform and of its way back, float32.

    [F, W] and [W, F]; every frequency but the first and, of an even W, the last stands for two.
    """
    time, frequency = torch.arange(places, dtype=torch.float64), torch.arange(places // 2 + 1, dtype=torch.float64)
    angles = 2 * math.pi * torch.outer(frequency, time) / places
    twice = torch.full((len(frequency), 1), 2.0, dtype=torch.float64)
    twice[0] = 1
    if places % 2 == 0:
        twice[-1] = 1
    scale = places**-0.5
    return {
        "forward_cos": (scale * angles.cos()).float(),
        "forward_sin": (-scale * angles.sin()).float(),
        "back_cos": (scale * twice * angles.cos()).T.float(),
        "back_sin": (-scale * twice * angles.sin()).T.float(),
    }
