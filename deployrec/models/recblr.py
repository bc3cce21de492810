"""RecBLR: behaviour-dependent linear recurrent units (Liu et al., CIKM 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from deployrec_kernels import bd_lru, bd_lru_step
from torch import Tensor, nn

from deployrec.models.base import SequentialRecommender, context_length
from deployrec.models.layers import CausalConv1d, Dropout, at_last
from deployrec.models.unroll import State
from deployrec.options import option
from deployrec.state import StateSpec, StateTensor


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


class BDLRULayer(nn.Module):
    """One RecBLR layer: gated BD-LRU block (Section 3.2 of the paper), then the position-wise feed-forward block.

    `number` names its state tensors: "NUMBER.hidden" and, with the convolution, "NUMBER.conv".
    """

    def __init__(self, config: RecBLRConfig, number: int) -> None:
        super().__init__()
        dim, channels = config.dim, config.dim * config.expansion
        self.conv_state, self.hidden_state = f"{number}.conv", f"{number}.hidden"
        self.in_proj = nn.Linear(dim, (1 + config.output_gate) * channels, bias=False)
        self.conv = CausalConv1d(channels, config.kernel, depthwise=True) if config.conv else None
        self.gates = nn.Linear(channels, 2 * channels)
        self.decay = nn.Parameter(initial_decay(config.lambda_init, channels))
        self.start = nn.Parameter(torch.zeros(channels)) if config.learned_start else None
        self.out_proj = nn.Linear(channels, dim, bias=False)
        self.recurrence_norm = nn.LayerNorm(dim, eps=1e-12)
        self.feed_forward = FeedForward(dim, config.dropout) if config.feed_forward else None
        self.dropout = Dropout(config.dropout)

    @staticmethod
    def state_tensors(config: RecBLRConfig, number: int) -> tuple[StateTensor, ...]:
        """What layer `number` remembers of a user."""
        channels = config.dim * config.expansion
        hidden = StateTensor(f"{number}.hidden", (channels,))
        return (StateTensor(f"{number}.conv", (config.kernel - 1, channels)), hidden) if config.conv else (hidden,)

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


class FeedForward(nn.Module):
    """Position-wise: two linear layers with a SiLU between, a residual and a norm."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = Dropout(dropout)

    def forward(self, y: Tensor) -> Tensor:
        """y [..., D] -> [..., D]."""
        return self.norm(self.dropout(self.out(self.dropout(F.silu(self.inner(y))))) + y)


class RecBLR(SequentialRecommender):
    """Two gated linear recurrences whose decay and input gate depend on the event; state: 4 KiB a user at d=64."""

    config_class = RecBLRConfig

    def __init__(self, num_items: int, config: RecBLRConfig) -> None:
        layers = range(config.layers)
        tensors = tuple(t for number in layers for t in BDLRULayer.state_tensors(config, number))
        spec = StateSpec(tensors, config.context_length or None)
        super().__init__(num_items, config, spec)
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(BDLRULayer(config, number) for number in layers)
        self.apply(initialise)

    @property
    def blocks(self) -> list[BDLRULayer]:
        return cast("list[BDLRULayer]", self.layers)

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._encode(items, lengths, state, last_only=False)

    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._encode(items, lengths, state, last_only=True)

    def _encode(self, items: Tensor, lengths: Tensor, state: State | None, last_only: bool) -> tuple[Tensor, State]:
        state = self.initial_state(items.shape[0]) if state is None else state
        present: State = {}
        x = self.norm(self.dropout(self.embedding(items)))
        for number, layer in enumerate(self.blocks):
            final = last_only and number == len(self.layers) - 1
            run = layer.encode_last if final else layer.encode
            x, carried = run(x, lengths, state)
            present |= carried
        return x, present

    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        present: State = {}
        x = self.norm(self.dropout(self.embedding(items)))
        for layer in self.blocks:
            x, carried = layer.step(x, state)
            present |= carried
        return x, present


def initial_decay(kind: Literal["published", "uniform"], channels: int) -> Tensor:
    """Lambda [channels] before training: decay at full gate is exp(-softplus(Lambda))."""
    if kind == "published":
        return torch.linspace(-2.1972, -6.9068, channels)
    rate = -torch.log(torch.empty(channels).uniform_(0.9, 0.999))
    return torch.log(torch.expm1(rate))


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) for linear and embedding weights, zero biases; convolutions keep torch's default."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding):
        with torch.no_grad():
            module.weight[0].zero_()
