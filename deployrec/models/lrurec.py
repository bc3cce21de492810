"""LRURec: linear recurrent units with complex decays (Yue et al., WSDM 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from deployrec_kernels import linear_recurrence
from torch import Tensor, nn

from deployrec.models.layers import Dropout, FeedForward, at_last, initialise
from deployrec.models.stack import Stack
from deployrec.models.time import calendar_option, time_option
from deployrec.models.unroll import State, unroll
from deployrec.options import option
from deployrec.state import StateTensor

SLOWEST, FASTEST = 0.99, 0.8
"""Moduli of the decays before training lie between, as published."""


@dataclass(frozen=True)
class LRURecConfig:
    dim: int = option(64, "width of items, users and layers", at_least=1, at_most=8192)
    layers: int = option(2, "recurrences on top of each other", at_least=1, at_most=64)
    expansion: int = option(2, "complex channels of the recurrence per channel of dim", at_least=1, at_most=64)
    dropout: float = option(0.2, "everywhere; 0.2 on ML-1M, more on sparse data", at_least=0, below=1)
    time: bool = time_option()
    calendar: bool = calendar_option()


class LRULayer(nn.Module):
    """h_t = lambda h_{t-1} + gamma B x_t, y_t = Re(C h_t), a residual and a norm; then the feed-forward block.

    A state of 2 H floats: the real parts of h, then the imaginary ones. Linear layers write complex products as real
    ones: B has rows for both parts, C columns.
    """

    def __init__(self, config: LRURecConfig, number: int) -> None:
        super().__init__()
        dim, channels = config.dim, config.dim * config.expansion
        self.hidden_state = f"{number}.hidden"
        self.state_tensors = (StateTensor(self.hidden_state, (2 * channels,)),)
        self.in_proj = nn.Linear(dim, 2 * channels)
        self.out_proj = nn.Linear(2 * channels, dim)
        modulus = torch.rand(channels) * (SLOWEST**2 - FASTEST**2) + FASTEST**2
        self.log_rate = nn.Parameter(torch.log(-0.5 * torch.log(modulus)))
        self.log_phase = nn.Parameter(torch.log(2 * math.pi * torch.rand(channels)))
        self.log_scale = nn.Parameter(0.5 * torch.log(1 - modulus))
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.feed_forward = FeedForward(dim, config.dropout, F.gelu)
        self.dropout = Dropout(config.dropout)

    def encode(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        hidden, final = self.scan(self.inputs(x), state[self.hidden_state], lengths)
        return self.mix(x, hidden), {self.hidden_state: final}

    def encode_last(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        _, final = self.scan(self.inputs(x), state[self.hidden_state], lengths)
        return self.mix(at_last(x, lengths), final), {self.hidden_state: final}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = self.move(self.inputs(x), state[self.hidden_state])
        return self.mix(x, hidden), {self.hidden_state: hidden}

    def inputs(self, x: Tensor) -> Tensor:
        """gamma B x: [..., D] -> [..., 2 H]."""
        scaled: Tensor = self.in_proj(x) * self.log_scale.exp().repeat(2)
        return scaled

    def move(self, u: Tensor, hidden: Tensor) -> Tensor:
        """lambda h + u, both [B, 2 H]; lambda is rounded once, for an error of its own would add up over events."""
        decay, phase = torch.exp(-self.log_rate.double().exp()), self.log_phase.double().exp()
        return rotate(hidden, (decay * phase.cos()).to(u.dtype), (decay * phase.sin()).to(u.dtype)) + u

    def scan(self, u: Tensor, start: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """u [B, T, 2 H] -> (hidden [B, T, 2 H], the state [B, 2 H] after each row's end).

        lambda is constant, so that h turned back by its phase, g_t = exp(-i theta t) h_t, is a recurrence of real
        decay: g_t = |lambda| g_{t-1} + exp(-i theta t) u_t. Angles are taken in float64, or they would be off by 1e-4
        after 1,000 events; graphs, which take one precision, move step by step instead.
        """
        if torch.compiler.is_exporting():
            hidden, state = unroll(self._cell, (u,), {self.hidden_state: start}, lengths)
            return hidden, state[self.hidden_state]
        times = torch.arange(u.shape[1] + 1, dtype=torch.float64, device=u.device)
        angles = times.unsqueeze(1) * self.log_phase.double().exp()
        cos, sin = angles.cos().to(u.dtype), angles.sin().to(u.dtype)
        decay = torch.exp(-self.log_rate.double().exp()).repeat(2).to(u.dtype).expand_as(u)
        turned, final = linear_recurrence(decay, rotate(u, cos[1:], -sin[1:]), start, lengths)
        return rotate(turned, cos[1:], sin[1:]), rotate(final, cos[lengths], sin[lengths])

    def mix(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Re(C h) and x [..., D] through the norms and the feed-forward block."""
        y: Tensor = self.feed_forward(self.norm(self.dropout(self.out_proj(hidden)) + x))
        return y

    def _cell(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        hidden = self.move(u, state[self.hidden_state])
        return hidden, {self.hidden_state: hidden}


class LRURec(Stack):
    """Two complex linear recurrences whose decays are learnt once for all events; state: 2 KiB a user at d=64."""

    config_class = LRURecConfig

    def __init__(self, num_items: int, config: LRURecConfig) -> None:
        super().__init__(num_items, config, (LRULayer(config, number) for number in range(config.layers)))
        self.apply(initialise)


def rotate(z: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """z [..., 2 H], real parts and then imaginary ones, times (cos + i sin) [..., H]."""
    real, imaginary = z.chunk(2, dim=-1)
    return torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
