"""Building blocks shared by the recommenders: causal convolutions that carry their state, and last-position reads."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployrec.errors import ConfigError


class CausalConv1d(nn.Module):
    """Convolution over time that sees the present and the `kernel - 1` inputs before it; its state is those inputs.

    `depthwise` filters every channel by itself (Mamba's and RecBLR's short convolution), else channels mix.
    """

    def __init__(self, channels: int, kernel: int, depthwise: bool) -> None:
        super().__init__()
        self.kernel, self.depthwise = kernel, depthwise
        initial = nn.Conv1d(channels, channels, kernel, groups=channels if depthwise else 1)
        self.weight = initial.weight
        self.bias = nn.Parameter(initial.state_dict()["bias"])

    def forward(self, x: Tensor, lengths: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, C], lengths [B], past [B, K-1, C] -> (y [B, T, C], present [B, K-1, C]): the newest K-1 inputs."""
        window = torch.cat([past, x], dim=1)
        if self.depthwise:
            length = x.shape[1]
            y = window[:, :length] * self.weight[:, 0, 0] + self.bias
            for offset in range(1, self.kernel):
                y = y + window[:, offset : offset + length] * self.weight[:, 0, offset]
        else:
            y = F.conv1d(window.transpose(1, 2), self.weight, self.bias).transpose(1, 2)
        return y, newest(window, lengths, self.kernel - 1)

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, C], past [B, K-1, C] -> (y [B, C], present [B, K-1, C])."""
        window = torch.cat([past, x.unsqueeze(1)], dim=1)
        return self.read(window), window[:, 1:]

    def read(self, window: Tensor) -> Tensor:
        """The output [B, C] at the end of a window [B, K, C]."""
        if self.depthwise:
            return (window * self.weight[:, 0].t()).sum(1) + self.bias
        return F.linear(window.flatten(1), self.weight.transpose(1, 2).flatten(1), self.bias)


class FeedForward(nn.Module):
    """Position-wise: two linear layers with an activation between, a residual and a LayerNorm after it."""

    def __init__(self, dim: int, dropout: float, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.dropout = Dropout(dropout)
        self.activation = activation

    def forward(self, y: Tensor) -> Tensor:
        """y [..., D] -> [..., D]."""
        return self.norm(self.dropout(self.out(self.dropout(self.activation(self.inner(y))))) + y)


class Dropout(nn.Dropout):
    """`nn.Dropout`, whose masks on a CPU come from 16 random bits an element.

    torch draws a double for each there, which takes a tenth of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu" or not 0 < self.p < 1:
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= round(self.p * 2**16) - 2**15
        return x * kept.to(x.dtype).mul_(1 / (1 - self.p))


def newest(window: Tensor, lengths: Tensor, count: int) -> Tensor:
    """The `count` rows of window [B, count + T, C] that end at position `lengths` of its last T rows: [B, count, C]."""
    return take(window, lengths.unsqueeze(1) + torch.arange(count, device=lengths.device))


def at_last(x: Tensor, lengths: Tensor) -> Tensor:
    """x [B, T, C] at each row's last event: [B, C]; position 0 for a row of length 0."""
    return take(x, (lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1)


def take(x: Tensor, positions: Tensor) -> Tensor:
    """x [B, T, C] at positions [B, K] of its time axis: [B, K, C]."""
    return x.gather(1, positions.unsqueeze(2).expand(-1, -1, x.shape[2]))


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) for linear and embedding weights, zero biases; the padding's vector is zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()


def check_heads(dim: int, heads: int) -> None:
    """Raises ConfigError unless `heads` share `dim` evenly."""
    if heads > 0 and dim % heads:
        raise ConfigError(f"expected dim a multiple of heads; got {dim} and {heads}; change one")
