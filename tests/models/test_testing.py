"""`check_model` passes a model that has the least a model can have, and finds what is wrong with others."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from deployrec.errors import ConfigError
from deployrec.models import SequentialRecommender, State, build_model
from deployrec.models.testing import check_model
from deployrec.state import StateSpec, StateTensor


@dataclass(frozen=True)
class Config:
    dim: int = 6


class Least(SequentialRecommender):
    """The mean of everything so far, decayed: config, spec and step are all there is."""

    config_class = Config

    def __init__(self, num_items: int, config: Config) -> None:
        super().__init__(num_items, config, StateSpec((StateTensor("0.mean", (config.dim,)),)))
        self.mix = nn.Linear(config.dim, config.dim)

    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        mean = 0.5 * state["0.mean"] + self.embedding(items)
        return self.mix(mean), {"0.mean": mean}


class EncodeOnly(SequentialRecommender):
    """The mean of the history, read whole each time: no state, no step."""

    config_class = Config

    def __init__(self, num_items: int, config: Config) -> None:
        super().__init__(num_items, config, StateSpec())

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        x = self.embedding(items)
        return x.cumsum(1) / torch.arange(1, x.shape[1] + 1, device=x.device).unsqueeze(1), {}


@pytest.mark.parametrize("model", [Least, EncodeOnly])
def test_models_that_hold_the_contract(model: type[SequentialRecommender]) -> None:
    check_model(model)


class ReadsPadding(Least):
    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return super().encode(items, torch.full_like(lengths, items.shape[1]), state)


class OtherStep(Least):
    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        hidden, state = super().encode(items, lengths, state)
        return hidden * 1.001, state


class ForgetsItsState(Least):
    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        return super().encode(items, lengths, None)


class LooksAhead(EncodeOnly):
    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        x = self.embedding(items)
        return x + torch.roll(x, -1, 1), {}


class MixesRows(EncodeOnly):
    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        x = self.embedding(items)
        return x + x[:1, :1], {}


class UnusedWeight(Least):
    def __init__(self, num_items: int, config: Config) -> None:
        super().__init__(num_items, config)
        self.spare = nn.Linear(2, 2)


class OtherNames(Least):
    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        user, state = super().step(items, state)
        return user, {"mean": state["0.mean"]}


class WideUser(EncodeOnly):
    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        x = self.embedding(items)
        return torch.cat([x, x], -1), {}


class ScoresPadding(EncodeOnly):
    def score(self, user: Tensor, elapsed: Tensor | None = None) -> Tensor:
        return user @ self.embedding.weight.T


class WrongLast(Least):
    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        hidden, state = self.encode(items, lengths, state)
        return hidden[:, -1], state


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ReadsPadding, "differs from encode"),
        (OtherStep, "step differs from encode by"),
        (ForgetsItsState, "differs from encode"),
        (LooksAhead, "differs from encode"),
        (MixesRows, "a row alone differs from encode"),
        (UnusedWeight, r"expected a finite gradient for every weight; got none for spare.weight, spare.bias"),
        (WideUser, r"expected hidden \[B, T, dim\] \(2, 3, 6\); got \(2, 3, 12\)"),
        (ScoresPadding, "expected a score of -inf for padding"),
        (WrongLast, "encode_last, or padding, differs from encode"),
    ],
)
def test_what_is_wrong_is_said(model: type[SequentialRecommender], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_model(model)


def test_a_step_that_returns_other_names_is_found() -> None:
    with pytest.raises((AssertionError, KeyError), match=r"0\.mean"):
        check_model(OtherNames)


def test_a_state_needs_a_step_and_float32() -> None:
    class Stepless(EncodeOnly):
        def __init__(self, num_items: int, config: Config) -> None:
            SequentialRecommender.__init__(self, num_items, config, StateSpec((StateTensor("0.mean", (6,)),)))

    class Whole(Least):
        def __init__(self, num_items: int, config: Config) -> None:
            SequentialRecommender.__init__(self, num_items, config, StateSpec((StateTensor("0.n", (1,), "int64"),)))

    with pytest.raises(ConfigError, match=r"Stepless to define step, having a state; got none; add it"):
        build_model(Stepless, 3)
    with pytest.raises(ConfigError, match=r"Whole in float32; got int64 for 0\.n; change its spec"):
        build_model(Whole, 3)
