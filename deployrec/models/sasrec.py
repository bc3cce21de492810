"""SASRec: causal self-attention with learned positions (Kang & McAuley, ICDM 2018), blocks as in RecBole or eSASRec.

A step needs the keys and values of every event before it, so the state is as long as the window; beyond the window
every event's position shifts, and only reading the newest `window` events again is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from deployrec.errors import ConfigError
from deployrec.models.base import Histories, Preset, SequentialRecommender
from deployrec.models.layers import Dropout, at_last, check_heads, initialise
from deployrec.models.transformer import Activation, Block, LiGRBlock
from deployrec.models.unroll import State
from deployrec.options import option
from deployrec.state import StateSpec, StateTensor


@dataclass(frozen=True)
class SASRecConfig:
    dim: int = option(64, "width of items, users and blocks; a multiple of heads", at_least=1, at_most=8192)
    window: int = option(200, "newest events that are read, and kept as the state", at_least=1, at_most=16384)
    layers: int = option(2, "blocks on top of each other", at_least=1, at_most=64)
    heads: int = option(2, "heads of the attention", at_least=1, at_most=8192)
    expansion: int = option(4, "inner width of the feed-forward block per channel of dim", at_least=1, at_most=64)
    dropout: float = option(0.2, "everywhere; 0.2 on ML-1M, 0.5 on sparse data", at_least=0, below=1)
    block: Literal["sasrec", "ligr"] = option(
        "sasrec", "norms behind each part as published, or gated ones with norms in front, as in eSASRec"
    )
    inner: int = option(0, "inner width of the feed-forward block; 0: expansion times dim", at_least=0, at_most=65536)
    activation: Activation = option("gelu", "of the feed-forward block; that of ligr has its own")
    norm_eps: float = option(1e-12, "added to the variance by every LayerNorm", at_least=0, at_most=1)

    def __post_init__(self) -> None:
        check_heads(self.dim, self.heads)


class Slots(NamedTuple):
    """Where new events [B, T] go among the W kept ones.

    fresh [B, W]: whether a slot takes one; position [B, T]: the slot of each new event; source [B, W]: which new event
    a slot would take, None where there is one only.
    """

    fresh: Tensor
    position: Tensor
    source: Tensor | None = None

    def write(self, past: Tensor, new: Tensor) -> Tensor:
        """past [B, H, W, dh] with the new rows [B, H, T, dh] at their slots."""
        if self.source is not None:
            source = self.source.clamp(0, new.shape[2] - 1)[:, None, :, None]
            new = new.gather(2, source.expand(-1, new.shape[1], -1, new.shape[3]))
        return torch.where(self.fresh[:, None, :, None], new, past)


class SASRec(SequentialRecommender):
    """Blocks of self-attention over the newest `window` events; state: their keys and values, 200 KiB a user."""

    config_class = SASRecConfig

    def __init__(self, num_items: int, config: SASRecConfig) -> None:
        shape = (config.heads, config.window, config.dim // config.heads)
        kept = [StateTensor(f"{layer}.{kind}", shape) for layer in range(config.layers) for kind in ("keys", "values")]
        super().__init__(num_items, config, StateSpec((StateTensor("0.count", (1,)), *kept), config.window))
        self.positions = nn.Embedding(config.window, config.dim)
        block = LiGRBlock if config.block == "ligr" else Block
        inner = config.inner or config.expansion * config.dim
        self.blocks = nn.ModuleList(
            block(config.dim, config.heads, inner, config.dropout, config.activation, config.norm_eps)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.dim, eps=config.norm_eps)
        self.dropout = Dropout(config.dropout)
        self.apply(initialise)

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._encode(items, lengths, state)

    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return self._encode(items, lengths, state, read=at_last)

    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        return self._encode(items.unsqueeze(1), torch.ones_like(items), state, read=only)

    def _encode(
        self,
        items: Tensor,
        lengths: Tensor,
        state: State | None,
        read: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, State]:
        """Hidden [B, T, D], or the user vector [B, D] of the position that `read` picks; and the state.

        Raises ConfigError, where it can look, for more events than the window holds.
        """
        past = self.initial_state(items.shape[0]) if state is None else state
        present: State = {"0.count": past["0.count"] + lengths.unsqueeze(1)}
        self._check(present["0.count"])
        slots = self._slots(items, lengths, past["0.count"].long(), single=read is only)
        x = self.dropout(self.norm(self.embedding(items) + self.positions(slots.position)))
        places = torch.arange(self.config.window, device=items.device)
        # Attention among the new events alone needs no window: what training takes.
        visible = None if state is None else (places <= slots.position.unsqueeze(2)).unsqueeze(1)
        for layer, block in enumerate(cast("Iterable[Block]", self.blocks)):
            new = block.keys_values(x)
            names = f"{layer}.keys", f"{layer}.values"
            for name, rows in zip(names, new, strict=True):
                present[name] = slots.write(past[name], rows)
            kept = [present[name] for name in names]
            if read and layer == len(self.blocks) - 1:
                newest = (present["0.count"].long() - 1).clamp(min=0)
                return block(read(x, lengths).unsqueeze(1), *kept, (places <= newest)[:, None, None]).squeeze(
                    1
                ), present
            x = block(x, *new) if visible is None else block(x, *kept, visible)
        return x, present

    def _slots(self, items: Tensor, lengths: Tensor, count: Tensor, single: bool) -> Slots:
        places = torch.arange(self.config.window, device=items.device)
        last = self.config.window - 1
        if single:
            return Slots(places == count, count.clamp(max=last))
        source = places - count
        position = torch.arange(items.shape[1], device=items.device) + count
        return Slots((source >= 0) & (source < lengths.unsqueeze(1)), position.clamp(max=last), source)

    def _check(self, count: Tensor) -> None:
        if not torch.compiler.is_compiling() and int(count.max()) > self.config.window:
            raise ConfigError(
                f"expected at most {self.config.window} events in a state of sasrec; got {int(count.max())}; "
                f"encode the newest {self.config.window} again"
            )

    @classmethod
    def preset(cls, name: Literal["quick", "full"], histories: Histories) -> Preset:
        options, recipe = super().preset(name, histories)
        if histories == "short":
            # Positions beyond the training's windows would never be learnt.
            options["window"] = recipe["window"] = 50
        return Preset(options, recipe)


def only(x: Tensor, lengths: Tensor) -> Tensor:
    """x [B, 1, D] as [B, D]: what a step reads."""
    return x.squeeze(1)
