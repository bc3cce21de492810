"""GLINT-RU: a dense selective GRU and linear attention as two experts, then a gated MLP (Zhang et al., KDD 2025).

The published code's centred convolutions look one step ahead; these are causal, which is what makes a step exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from deployrec_kernels import gru, gru_step, linear_attention, linear_attention_read
from torch import Tensor, nn

from deployrec.models.base import Histories, Preset, SequentialRecommender
from deployrec.models.layers import CausalConv1d, Dropout, at_last, check_heads, take
from deployrec.models.time import calendar_option, time_option
from deployrec.models.unroll import State
from deployrec.options import option
from deployrec.state import StateSpec, StateTensor


@dataclass(frozen=True)
class GLINTRUConfig:
    dim: int = option(128, "width of items, users and the layer; a multiple of heads", at_least=1, at_most=8192)
    heads: int = option(8, "heads of the linear attention", at_least=1, at_most=8192)
    kernel: int = option(3, "events that a convolution sees", at_least=2, at_most=64)
    dropout: float = option(0.2, "on embeddings and the attention's output", at_least=0, below=1)
    block_dropout: float = option(0.3, "in the selective gate, the mixing and the MLP", at_least=0, below=1)
    mlp_expansion: int = option(1, "inner width of the gated MLP per channel of dim", at_least=1, at_most=64)
    key_norm: Literal["token", "time"] = option(
        "time",
        "token (the published code): each key has length 1, and the read-out grows with the history; "
        "time: it is divided by the root of the keys' squares so far, and stays level",
    )
    attention: bool = option(True, "false leaves out the linear attention, as an ablation of the paper")
    selective_gate: bool = option(True, "false leaves out the dense selective gate, as an ablation of the paper")
    gated_mlp: bool = option(True, "false leaves out the gated MLP, as an ablation of the paper")
    time: bool = time_option()
    calendar: bool = calendar_option()

    def __post_init__(self) -> None:
        check_heads(self.dim, self.heads)


class LinearAttention(nn.Module):
    """L2-normalised linear attention over ELU features; the state is one mean outer product [dh, dh] a head.

    A float32 sum of n events errs in proportion to n, sooner or later beyond any gate. The state is therefore their
    mean beside their count, and what rounding took from the mean is kept and given back (Kahan's compensation): it
    errs by a few 1e-8 at any length.
    """

    def __init__(self, config: GLINTRUConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads, self.scale = config.heads, (dim // config.heads) ** -0.5
        self.over_time = config.key_norm == "time"
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = Dropout(config.dropout)

    def encode(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, T, D] -> (a [B, T, D], the attention's state)."""
        k, v = self.keys_values(x)
        start = state["0.count"] * state["0.mean"]
        products, squares = start[..., : v.shape[-1]], None
        if self.over_time:
            squares = start[..., -1].unsqueeze(1) + mask_padding(k * k, lengths).cumsum(1)
        q = self.queries(x, squares)
        read, sums = linear_attention(q, k, v, initial_state=products, lengths=lengths)
        if squares is not None:
            sums = torch.cat((sums, squares[:, -1].unsqueeze(-1)), -1)
        return self.finish(read, x), self.after(lengths, sums - start, state)

    def encode_last(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, T, D] -> (a [B, D] after each row's last event, state): one sum over time instead of a scan."""
        k, v = self.keys_values(x)
        k = mask_padding(k, lengths)
        total = k.permute(0, 2, 3, 1) @ v.transpose(1, 2)
        if self.over_time:
            total = torch.cat((total, (k * k).sum(1).unsqueeze(-1)), -1)
        present = self.after(lengths, total, state)
        last = at_last(x, lengths)
        return self.finish(self.read(last, present), last), present

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, D] -> (a [B, D], state)."""
        k, v = self.keys_values(x)
        total = k.unsqueeze(-1) * v.unsqueeze(-2)
        if self.over_time:
            total = torch.cat((total, (k * k).unsqueeze(-1)), -1)
        count = state["0.count"] + 1
        present = {"0.count": count} | remember(state, count, total - state["0.mean"])
        return self.finish(self.read(x, present), x), present

    def after(self, lengths: Tensor, total: Tensor, state: State) -> State:
        """The state after lengths [B] more events whose values sum to `total`; none leave it as it is."""
        events = lengths.view(-1, 1, 1, 1)
        count = state["0.count"] + events
        return {"0.count": count} | remember(state, count.clamp(min=1), total - events * state["0.mean"])

    def read(self, x: Tensor, state: State) -> Tensor:
        """What the queries of x [B, D] find in the state: [B, H, dh]."""
        width = x.shape[-1] // self.heads
        mean, count = state["0.mean"], state["0.count"]
        squares = (count * mean[..., width:]).squeeze(-1) if self.over_time else None
        q = self.queries(x, squares) * count.squeeze(-1)
        return linear_attention_read(q, mean[..., :width])

    def queries(self, x: Tensor, squares: Tensor | None) -> Tensor:
        """x [..., D] -> q [..., H, dh] of length 1, over the root of the keys' squares so far where there are any."""
        q = unit(F.elu(self.query(x)).unflatten(-1, (self.heads, -1)))
        return q if squares is None else q * torch.rsqrt(squares + 1e-6)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [..., D] -> k, v [..., H, dh]; keys have length 1 under key_norm "token"."""
        k = F.elu(self.key(x)).unflatten(-1, (self.heads, -1))
        return k if self.over_time else unit(k), self.value(x).unflatten(-1, (self.heads, -1))

    def finish(self, read: Tensor, x: Tensor) -> Tensor:
        return self.norm(self.dropout(self.out(read.flatten(-2) * self.scale)) + x)


class SelectiveGRU(nn.Module):
    """Dense selective GRU: convolution, GRU without biases, a gate made from the GRU's input, convolution."""

    def __init__(self, config: GLINTRUConfig) -> None:
        super().__init__()
        dim = config.dim
        self.in_proj = nn.Linear(dim, dim)
        self.conv_in = CausalConv1d(dim, config.kernel, depthwise=False)
        self.to_gates = nn.Linear(dim, 3 * dim, bias=False)
        self.recurrent = nn.Linear(dim, 3 * dim, bias=False)
        self.select = SelectiveGate(dim, config.block_dropout) if config.selective_gate else None
        self.out_proj = nn.Linear(dim, dim)
        self.conv_out = CausalConv1d(dim, config.kernel, depthwise=False)

    def encode(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, T, D] -> (r [B, T, D], the GRU's state)."""
        c, g, present = self.scan(x, lengths, state)
        r, present["0.conv_out"] = self.conv_out(self.project(c, g), lengths, state["0.conv_out"])
        return r, present

    def encode_last(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, T, D] -> (r [B, D] after each row's last event, state); gates only what the last convolution reads."""
        c, g, present = self.scan(x, lengths, state)
        kernel = self.conv_out.kernel
        # The last window, as positions in [one zero row, the K-1 carried rows, the T new ones].
        position = lengths.unsqueeze(1) + torch.arange(kernel, device=x.device)
        carried = take(F.pad(state["0.conv_out"], (0, 0, 1, 0)), position.clamp(max=kernel - 1))
        c, g = (take(F.pad(y, (0, 0, kernel, 0)), position) for y in (c, g))
        window = torch.where((position < kernel).unsqueeze(2), carried, self.project(c, g))
        present["0.conv_out"] = window[:, 1:]
        return self.conv_out.read(window), present

    def scan(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """x [B, T, D] -> (c, g [B, T, D], the first convolution's and the GRU's state)."""
        c, conv_in = self.conv_in(self.in_proj(x), lengths, state["0.conv_in"])
        g, hidden = gru(self.to_gates(c), self.recurrent.weight, initial_state=state["0.hidden"], lengths=lengths)
        return c, g, {"0.conv_in": conv_in, "0.hidden": hidden}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, D] -> (r [B, D], state)."""
        c, conv_in = self.conv_in.step(self.in_proj(x), state["0.conv_in"])
        hidden = gru_step(self.to_gates(c), self.recurrent.weight, state["0.hidden"])
        r, conv_out = self.conv_out.step(self.project(c, hidden), state["0.conv_out"])
        return r, {"0.conv_in": conv_in, "0.hidden": hidden, "0.conv_out": conv_out}

    def project(self, c: Tensor, g: Tensor) -> Tensor:
        """The GRU's output g [..., D], projected and gated by its input c [..., D]."""
        projected: Tensor = self.out_proj(g)
        return projected if self.select is None else self.select(c) * projected


class SelectiveGate(nn.Sequential):
    """A gate [..., D] made from the GRU's input through half the width."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__(nn.Linear(dim, dim // 2), nn.SiLU(), nn.Linear(dim // 2, dim), Dropout(dropout))


class Mixer(nn.Module):
    """Weighs the two experts, gates them by the input, and applies the gated MLP; both share one norm."""

    def __init__(self, config: GLINTRUConfig) -> None:
        super().__init__()
        dim = config.dim
        self.expert_logits = nn.Parameter(torch.zeros(2)) if config.attention else None
        self.gate = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.mlp = GatedMLP(dim, dim * config.mlp_expansion) if config.gated_mlp else None
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = Dropout(config.block_dropout)

    def forward(self, x: Tensor, recurrent: Tensor, attention: Tensor | None) -> Tensor:
        """x, recurrent, attention [..., D] -> [..., D]."""
        mixed = recurrent
        if self.expert_logits is not None and attention is not None:
            share = torch.softmax(self.expert_logits, 0)
            mixed = share[0] * recurrent + share[1] * attention
        o: Tensor = self.norm(self.dropout(self.out(mixed * F.gelu(self.gate(x)))) + x)
        return o if self.mlp is None else self.norm(self.dropout(self.mlp(o)) + o)


class GatedMLP(nn.Module):
    """Two projections, one through GELU, multiplied and projected back."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.inner, self.gate, self.out = nn.Linear(dim, inner), nn.Linear(dim, inner), nn.Linear(inner, dim)

    def forward(self, o: Tensor) -> Tensor:
        """o [..., D] -> [..., D]."""
        product: Tensor = self.out(self.inner(o) * F.gelu(self.gate(o)))
        return product


class GLINTRU(SequentialRecommender):
    """One layer of two experts that read the same events; state: 5.8 KiB a user at d=64, 20 KiB at d=128."""

    config_class = GLINTRUConfig

    def __init__(self, num_items: int, config: GLINTRUConfig) -> None:
        super().__init__(num_items, config, state_spec(config))
        self.attention = LinearAttention(config) if config.attention else None
        self.recurrence, self.mixer = SelectiveGRU(config), Mixer(config)
        self.dropout = Dropout(config.dropout)
        self.apply(initialise)

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        state = self.initial_state(items.shape[0]) if state is None else state
        x = self.dropout(self.embedding(items))
        r, recurrent = self.recurrence.encode(x, lengths, state)
        a, attention = (None, {}) if self.attention is None else self.attention.encode(x, lengths, state)
        return self.mixer(x, r, a), recurrent | attention

    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        state = self.initial_state(items.shape[0]) if state is None else state
        x = self.dropout(self.embedding(items))
        r, recurrent = self.recurrence.encode_last(x, lengths, state)
        a, attention = (None, {}) if self.attention is None else self.attention.encode_last(x, lengths, state)
        return self.mixer(at_last(x, lengths), r, a), recurrent | attention

    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        x = self.dropout(self.embedding(items))
        r, recurrent = self.recurrence.step(x, state)
        a, attention = (None, {}) if self.attention is None else self.attention.step(x, state)
        return self.mixer(x, r, a), recurrent | attention

    @classmethod
    def preset(cls, name: Literal["quick", "full"], histories: Histories) -> Preset:
        options, recipe = super().preset(name, histories)
        if histories != "short":
            options["block_dropout"] = 0.15
        if name == "quick":
            options["dim"] = 64
        elif histories != "short":
            # A carried state is what it serves from, and keeps up with the window better where the rate falls.
            recipe |= {"epochs": 16, "patience": 10, "schedule": "cosine", "carried_state": 1.0}
        return Preset(options, recipe)


def state_spec(config: GLINTRUConfig) -> StateSpec:
    """What a model of this configuration remembers of a user."""
    head = config.dim // config.heads
    tensors = [
        StateTensor("0.conv_in", (config.kernel - 1, config.dim)),
        StateTensor("0.hidden", (config.dim,)),
        StateTensor("0.conv_out", (config.kernel - 1, config.dim)),
    ]
    if config.attention:
        # Of each event: the outer product of its key and value and, in a last column, the key's squares.
        shape = (config.heads, head, head + (config.key_norm == "time"))
        tensors += [StateTensor("0.count", (1, 1, 1)), StateTensor("0.mean", shape), StateTensor("0.rest", shape)]
    return StateSpec(tuple(tensors))


def remember(state: State, count: Tensor, excess: Tensor) -> State:
    """The attention's state once `count` events are read, whose new values sum to `excess` more than as many means."""
    mean = state["0.mean"]
    change = excess / count + state["0.rest"]
    moved = mean + change
    return {"0.mean": moved, "0.rest": change - (moved - mean)}


def unit(x: Tensor) -> Tensor:
    """x [..., dh] at length 1; the floor inside the root keeps a zero vector and its gradient finite."""
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True).clamp(min=1e-12))


def mask_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """x [B, T, ...] with zeros at and beyond each row's length."""
    valid = torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)
    return x * valid.view(*valid.shape, *([1] * (x.dim() - 2)))


def initialise(module: nn.Module) -> None:
    """Xavier normal embeddings, Xavier uniform linears, zero biases; convolutions keep torch's default."""
    if isinstance(module, nn.Embedding):
        nn.init.xavier_normal_(module.weight)
        with torch.no_grad():
            module.weight[0].zero_()
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
