"""The contract every recommender fulfils; training, export and serving know models only through it."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployrec.errors import ConfigError
from deployrec.models.layers import at_last
from deployrec.models.time import Moment
from deployrec.models.unroll import State, unroll
from deployrec.options import check_options, option
from deployrec.state import StateSpec

Histories = Literal["long", "few", "short"]
"""Kinds of data: users with long histories (MovieLens), few of them, or short ones (shop reviews)."""
DROPOUT: dict[Histories, float] = {"long": 0.1, "few": 0.3, "short": 0.5}
"""Of the presets: the fewer events a user or the log has, the sooner a model knows them by heart."""


def context_length() -> Any:
    """The option of a recurrence to answer from a user's newest events alone."""
    meaning = "newest events that are read, as where RecBole has trained so; 0 reads all, at no further cost"
    return option(0, meaning, at_least=0, at_most=1_000_000)


class Preset(NamedTuple):
    """What a model changes under a preset: options of its own, and fields of the recipe (`TrainingConfig`)."""

    options: dict[str, Any]
    recipe: dict[str, Any]


class SequentialRecommender(nn.Module):
    """Predicts a user's next item from the items before it.

    A model gives its `config_class`, a dataclass with a `dim` and a default for every field; hands its `StateSpec` to
    this constructor; and defines `step`. `encode` has a default that takes the steps one by one: a model overrides it
    with what reads a history at once. A model with a spec without tensors has no state, defines `encode` alone, and
    serves by reading the newest `state_spec.exact_up_to` events of histories again.

    Rows are right-padded with 0 and cut off at `lengths`; a row of length 0 keeps its state. The invariant every
    model keeps, for any split of a history `a + b`, up to `state_spec.exact_up_to`:

        encode(a + b) == encode(b, state=encode(a).state) == step, step, ...

    A model whose configuration has a true `time` is time-aware: `score` mixes into the user vector how long ago the
    last event was. Nothing else knows of time.

    `deployrec.models.testing.check_model` checks all this for a model.
    """

    key: ClassVar[str]
    """Names runs and bundles; the class's name in lower case unless the class says otherwise."""
    config_class: ClassVar[type]
    padding_mask: Tensor

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "key" not in cls.__dict__:
            cls.key = cls.__name__.lower()

    def __init__(self, num_items: int, config: Any, state_spec: StateSpec) -> None:
        super().__init__()
        check_options(config)
        self.num_items = num_items
        self.config = config
        self.state_spec = state_spec
        self.embedding = nn.Embedding(num_items + 1, config.dim, padding_idx=0)
        mask = torch.zeros(num_items + 1)
        mask[0] = -torch.inf
        time, calendar = (getattr(config, name, False) for name in ("time", "calendar"))
        if calendar and not time:
            raise ConfigError("expected time=true beside calendar=true; got time=false; set both")
        self.moment = Moment(config.dim, calendar) if time else None
        self.register_buffer("padding_mask", mask, persistent=False)

    def initial_state(self, batch: int) -> State:
        """Zeros: the state of `batch` users without events."""
        weight = self.embedding.weight
        return {t.name: weight.new_zeros(batch, *t.shape) for t in self.state_spec.tensors}

    def step(self, items: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads one event a row, items [B] int64; returns the user vector [B, D] and the new state."""
        raise NotImplementedError(f"{type(self).__name__} has no state and no step")

    def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Reads items [B, T] int64 with lengths [B] int64; returns hidden [B, T, D] and the state after each row's end.

        Positions at or beyond a row's length hold unspecified values.
        """
        state = self.initial_state(items.shape[0]) if state is None else state
        return unroll(self.step, (items,), state, lengths)

    def encode_last(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Like `encode`, but only the user vector [B, D] after each row's last event, unspecified for length 0.

        What `encode.onnx` computes: a model overrides it where the last position is cheaper to have than all.
        """
        hidden, state = self.encode(items, lengths, state)
        return at_last(hidden, lengths), state

    def predict(
        self, items: Tensor, lengths: Tensor, targets: Tensor, state: State | None = None
    ) -> tuple[Tensor, Tensor]:
        """What a training step learns from: hidden [P, D] of the positions that are left in the targets it returns.

        targets [B, T] int64 holds the item after each of `items`, 0 behind the rows' ends. A model that cannot have
        all positions at the price of one pass, or that learns by guessing items it does not see, overrides this and
        returns targets with 0 at all positions but its P. The targets may be read, as inputs of others.
        """
        hidden, _ = self.encode(items, lengths, state)
        return hidden[targets > 0], targets

    def at_moment(self, user: Tensor, elapsed: Tensor | None = None) -> Tensor:
        """User vectors [..., D] at a request `elapsed` [...] seconds after the last event; negative or None: unknown.

        Of a model with a calendar elapsed is [..., 2], the seconds and the days since 1970. The vectors of a model that
        is not time-aware stay as they are.
        """
        if self.moment is None:
            return user
        now: Tensor = self.moment(user, self.moment.unknown(user) if elapsed is None else elapsed)
        return now

    def score(self, user: Tensor, elapsed: Tensor | None = None) -> Tensor:
        """Scores [..., N + 1] of all items for user vectors [..., D] `at_moment`; column 0 (padding) is -inf."""
        return F.linear(self.at_moment(user, elapsed), self.embedding.weight, self.padding_mask)

    def config_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        return asdict(self.config)

    @classmethod
    def preset(cls, name: Literal["quick", "full"], histories: Histories) -> Preset:
        """What the preset means for this model, beyond what all models share, on data of such histories."""
        if "dropout" not in {field.name for field in fields(cls.config_class)}:
            return Preset({}, {})
        return Preset({"dropout": DROPOUT[histories]}, {})
