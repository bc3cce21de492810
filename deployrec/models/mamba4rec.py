"""Mamba4Rec: selective state spaces over item embeddings (Liu et al., arXiv 2403.03900)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from deployrec_kernels import linear_recurrence
from torch import Tensor, nn

from deployrec.models.base import Histories, Preset
from deployrec.models.layers import CausalConv1d, Dropout, FeedForward, at_last, initialise
from deployrec.models.stack import Stack
from deployrec.models.time import calendar_option, time_option
from deployrec.models.unroll import State, unroll
from deployrec.options import option
from deployrec.state import StateTensor

AT_ONCE = 2**23
"""Numbers of the states that exist at the same time: longer batches are read in pieces."""
SHORTEST_STEP, LONGEST_STEP = 1e-3, 0.1
"""Discretisation steps before training lie between, as in Mamba."""


@dataclass(frozen=True)
class Mamba4RecConfig:
    dim: int = option(64, "width of items, users and layers", at_least=1, at_most=8192)
    layers: int = option(1, "Mamba blocks on top of each other", at_least=1, at_most=64)
    expansion: int = option(2, "channels of a block per channel of dim", at_least=1, at_most=64)
    states: int = option(32, "numbers that a channel remembers", at_least=1, at_most=1024)
    kernel: int = option(4, "events that the convolution sees", at_least=2, at_most=64)
    dropout: float = option(0.2, "everywhere; the paper takes 0.2 on ML-1M, 0.4 on sparse data", at_least=0, below=1)
    time: bool = time_option()
    calendar: bool = calendar_option()


class MambaLayer(nn.Module):
    """A Mamba block (Gu & Dao, arXiv 2312.00752), a norm, and the feed-forward block.

    Of every channel c and each of its N numbers, with the step Delta_t = softplus(...) of the event:

        h_t = exp(Delta_t A) h_{t-1} + Delta_t B_t c_t          y_t = C_t . h_t + D c_t
    """

    def __init__(self, config: Mamba4RecConfig, number: int) -> None:
        super().__init__()
        dim, channels = config.dim, config.dim * config.expansion
        self.channels, self.states, self.rank = channels, config.states, math.ceil(dim / 16)
        self.conv_state, self.hidden_state = f"{number}.conv", f"{number}.hidden"
        self.state_tensors = (
            StateTensor(self.conv_state, (config.kernel - 1, channels)),
            StateTensor(self.hidden_state, (channels * config.states,)),
        )
        self.residual = config.layers > 1
        self.in_proj = nn.Linear(dim, 2 * channels, bias=False)
        self.conv = CausalConv1d(channels, config.kernel, depthwise=True)
        self.selection = nn.Linear(channels, self.rank + 2 * config.states, bias=False)
        self.step_weight = nn.Parameter(torch.empty(channels, self.rank).uniform_(-1, 1) * self.rank**-0.5)
        low, high = math.log(SHORTEST_STEP), math.log(LONGEST_STEP)
        self.step_bias = nn.Parameter(torch.log(torch.expm1(torch.empty(channels).uniform_(low, high).exp())))
        self.log_rate = nn.Parameter(torch.log(torch.arange(1.0, config.states + 1)).repeat(channels, 1))
        self.skip = nn.Parameter(torch.ones(channels))
        self.out_proj = nn.Linear(channels, dim, bias=False)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.feed_forward = FeedForward(dim, config.dropout, F.gelu)
        self.dropout = Dropout(config.dropout)

    def encode(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        u, z = self.in_proj(x).chunk(2, dim=-1)
        c, present = self.convolve(u, lengths, state)
        reads, present[self.hidden_state] = self.scan(c, lengths, state[self.hidden_state])
        return self.mix(x, z, c, reads), present

    def encode_last(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        to_u, to_z = self.in_proj.weight.chunk(2)
        c, present = self.convolve(F.linear(x, to_u), lengths, state)
        _, final = self.scan(c, lengths, state[self.hidden_state])
        present[self.hidden_state] = final
        last, newest = at_last(x, lengths), at_last(c, lengths)
        reads = self.read(final, self.select(newest)[2])
        return self.mix(last, F.linear(last, to_z), newest, reads), present

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        u, z = self.in_proj(x).chunk(2, dim=-1)
        convolved, window = self.conv.step(u, state[self.conv_state])
        c = F.silu(convolved)
        reads, moved = self._cell(c, state)
        return self.mix(x, z, c, reads), {self.conv_state: window, **moved}

    def convolve(self, u: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """u [B, T, C] -> (SiLU of its causal convolution, that part of the state)."""
        convolved, window = self.conv(u, lengths, state[self.conv_state])
        return F.silu(convolved), {self.conv_state: window}

    def select(self, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of inputs c [..., C]: Delta [..., C], B and C [..., N]."""
        low_rank, b, read = self.selection(c).split([self.rank, self.states, self.states], dim=-1)
        return F.softplus(F.linear(low_rank, self.step_weight, self.step_bias)), b, read

    def transition(self, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of inputs c [..., C]: decay and input of every number [..., C N], and how it is read [..., N]."""
        delta, b, read = self.select(c)
        decay = torch.exp(-delta.unsqueeze(-1) * self.log_rate.exp())
        return decay.flatten(-2), ((delta * c).unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2), read

    def scan(self, c: Tensor, lengths: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """c [B, T, C] -> (C_t . h_t [B, T, C], the state [B, C N] after each row's end)."""
        if torch.compiler.is_exporting():
            stepped, state = unroll(self._cell, (c,), {self.hidden_state: start}, lengths)
            return stepped, state[self.hidden_state]
        reads, final = [], start
        piece = max(1, AT_ONCE // (len(c) * self.channels * self.states))
        for begin in range(0, c.shape[1], piece):
            decay, value, read = self.transition(c[:, begin : begin + piece])
            within = (lengths - begin).clamp(0, value.shape[1])
            hidden, final = linear_recurrence(decay, value, final, within)
            reads.append(self.read(hidden, read))
        return torch.cat(reads, 1), final

    def read(self, hidden: Tensor, read: Tensor) -> Tensor:
        """hidden [..., C N], read [..., N] -> [..., C]."""
        return (hidden.unflatten(-1, (self.channels, self.states)) @ read.unsqueeze(-1)).squeeze(-1)

    def mix(self, x: Tensor, z: Tensor, c: Tensor, reads: Tensor) -> Tensor:
        """What was read and what skipped the state, gated by z, through the norms and the feed-forward block."""
        y = self.dropout(self.out_proj((reads + self.skip * c) * F.silu(z)))
        out: Tensor = self.feed_forward(self.norm(y + x if self.residual else y))
        return out

    def _cell(self, c: Tensor, state: State) -> tuple[Tensor, State]:
        decay, value, read = self.transition(c)
        hidden = decay * state[self.hidden_state] + value
        return self.read(hidden, read), {self.hidden_state: hidden}


class Mamba4Rec(Stack):
    """A selective state space, whose decay and input depend on the event; state: 17.5 KiB a user at d=64.

    A single block has no residual around it, as published.
    """

    config_class = Mamba4RecConfig

    def __init__(self, num_items: int, config: Mamba4RecConfig) -> None:
        super().__init__(num_items, config, (MambaLayer(config, number) for number in range(config.layers)))
        self.apply(initialise)

    @classmethod
    def preset(cls, name: Literal["quick", "full"], histories: Histories) -> Preset:
        options, recipe = super().preset(name, histories)
        if histories == "short":
            options["dropout"] = 0.35  # without a residual around its only block, more keeps it from learning
        if (name, histories) == ("quick", "few"):
            recipe["epochs"] = 12  # on a CPU its states take twice the time of other models' for an event
        return Preset(options, recipe)
