"""RecBLR: behaviour-dependent linear recurrent units (Liu et al., CIKM 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from deployrec_kernels import bd_lru, bd_lru_step
from torch import Tensor, nn

from deployrec.models.base import context_length
from deployrec.models.layers import CausalConv1d, Dropout, FeedForward, at_last, initialise
from deployrec.models.stack import Stack
from deployrec.models.time import calendar_option, time_option
from deployrec.models.unroll import State
from deployrec.options import option
from deployrec.state import StateTensor


@dataclass(frozen=True)
class RecBLRConfig:
    dim: int = option(64, "width of items, users and layers", at_least=1, at_most=8192)
    layers: int = option(2, "recurrences on top of each other", at_least=1, at_most=64)
    expansion: int = option(2, "channels of the recurrence per channel of dim", at_least=1, at_most=64)
    kernel: int = option(4, "events that the convolution sees", at_least=2, at_most=64)
    dropout: float = option(
        0.2, "everywhere; the paper takes 0.2 on ML-1M, 0.5 on Beauty, 0.4 on Steam", at_least=0, below=1
    )
    lambda_init: Literal["published", "uniform"] = option(
        "published",
        "how decays start: as in the authors' code, or uniform in [0.9, 0.999] as in the paper's text",
    )
    conv: bool = option(True, "false leaves out the convolution, as an ablation of the paper")
    output_gate: bool = option(True, "false leaves out the output gate, as an ablation of the paper")
    feed_forward: bool = option(True, "false leaves out the feed-forward block, as an ablation of the paper")
    learned_start: bool = option(
        False, "true: recurrences start from weights, as the published code's do by its padding, instead of zeros"
    )
    context_length: int = context_length()
    time: bool = time_option()
    calendar: bool = calendar_option()


class BDLRULayer(nn.Module):
    """One RecBLR layer: gated BD-LRU block (Section 3.2 of the paper), then the position-wise feed-forward block.

    `number` names its state tensors: "NUMBER.hidden" and, with the convolution, "NUMBER.conv".
    """

    def __init__(self, config: RecBLRConfig, number: int) -> None:
        super().__init__()
        dim, channels = config.dim, config.dim * config.expansion
        self.conv_state, self.hidden_state = f"{number}.conv", f"{number}.hidden"
        hidden = StateTensor(self.hidden_state, (channels,))
        conv = StateTensor(self.conv_state, (config.kernel - 1, channels))
        self.state_tensors = (conv, hidden) if config.conv else (hidden,)
        self.in_proj = nn.Linear(dim, (1 + config.output_gate) * channels, bias=False)
        self.conv = CausalConv1d(channels, config.kernel, depthwise=True) if config.conv else None
        self.gates = nn.Linear(channels, 2 * channels)
        self.decay = nn.Parameter(initial_decay(config.lambda_init, channels))
        self.start = nn.Parameter(torch.zeros(channels)) if config.learned_start else None
        self.out_proj = nn.Linear(channels, dim, bias=False)
        self.recurrence_norm = nn.LayerNorm(dim, eps=1e-12)
        self.feed_forward = FeedForward(dim, config.dropout, F.silu) if config.feed_forward else None
        self.dropout = Dropout(config.dropout)

    def encode(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, T, D] -> (x' [B, T, D], the layer's state)."""
        u, *z = self.in_proj(x).split(self.decay.numel(), dim=-1)
        states, present = self.scan(u, lengths, state)
        return self.mix(x, z, states), present

    def encode_last(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, T, D] -> (x' [B, D] after each row's last event, state); only the scan visits every position."""
        to_u, *to_z = self.in_proj.weight.split(self.decay.numel())
        _, present = self.scan(F.linear(x, to_u), lengths, state)
        last, hidden = at_last(x, lengths), self.started(present[self.hidden_state])
        return self.mix(last, [F.linear(last, weight) for weight in to_z], hidden), present

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, D] -> (x' [B, D], state)."""
        u, *z = self.in_proj(x).split(self.decay.numel(), dim=-1)
        present = {}
        if self.conv is not None:
            u, present[self.conv_state] = self.conv.step(u, state[self.conv_state])
        c = F.silu(u)
        r, i = self.gates(c).chunk(2, dim=-1)
        hidden = bd_lru_step(c, r, i, self.decay, self.started(state[self.hidden_state]))
        present[self.hidden_state] = hidden if self.start is None else hidden - self.start
        return self.mix(x, z, hidden), present

    def scan(self, u: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """u [B, T, H] -> (states [B, T, H], the layer's state)."""
        present = {}
        if self.conv is not None:
            u, present[self.conv_state] = self.conv(u, lengths, state[self.conv_state])
        c = F.silu(u)
        r, i = self.gates(c).chunk(2, dim=-1)
        started = self.started(state[self.hidden_state])
        states, hidden = bd_lru(c, r, i, self.decay, initial_state=started, lengths=lengths)
        present[self.hidden_state] = hidden if self.start is None else hidden - self.start
        return states, present

    def started(self, hidden: Tensor) -> Tensor:
        """The recurrence's state [B, H] of a stored one, which is zero before the first event."""
        return hidden if self.start is None else hidden + self.start

    def mix(self, x: Tensor, z: list[Tensor], states: Tensor) -> Tensor:
        """Gates the states [..., H] by z, one tensor or none, adds x [..., D] and applies the feed-forward block."""
        gated = states * F.silu(z[0]) if z else states
        y = self.recurrence_norm(self.dropout(self.out_proj(gated)) + x)
        return y if self.feed_forward is None else self.feed_forward(y)


class RecBLR(Stack):
    """Two gated linear recurrences whose decay and input gate depend on the event; state: 4 KiB a user at d=64."""

    config_class = RecBLRConfig

    def __init__(self, num_items: int, config: RecBLRConfig) -> None:
        layers = (BDLRULayer(config, number) for number in range(config.layers))
        super().__init__(num_items, config, layers, config.context_length)
        self.apply(initialise)


def initial_decay(kind: Literal["published", "uniform"], channels: int) -> Tensor:
    """Lambda [channels] before training: decay at full gate is exp(-softplus(Lambda))."""
    if kind == "published":
        return torch.linspace(-2.1972, -6.9068, channels)
    rate = -torch.log(torch.empty(channels).uniform_(0.9, 0.999))
    return torch.log(torch.expm1(rate))
