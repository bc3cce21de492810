"""What a training run can be told: the recipe, and how settings reach it and the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_origin

from deployrec.errors import ConfigError
from deployrec.models import ModelClass, available_models, class_spec, model_class
from deployrec.options import Option, check_options, describe, option

Loss = Literal["auto", "softmax", "sampled", "uniform"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]
Seen = Literal["auto", "excluded", "candidates"]
Settings = Mapping[str, Any] | Iterable[str]
"""{"key": value} or "key=value" texts."""

SAMPLED_FROM = 100_000
"""Items from which on the loss "auto" is the sampled one."""


@dataclass(frozen=True)
class TrainingConfig:
    """The recipe of one run; the presets choose it, settings change it. ConfigError for values that cannot work."""

    window: int = option(
        200, "events a training window holds at most, and a windowed evaluation reads", at_least=1, at_most=1_000_000
    )
    tokens: int = option(3200, "padded events in a batch, at least a window", at_least=1, at_most=100_000_000)
    epochs: int = option(50, "passes over the training events", at_least=1, at_most=100_000)
    patience: int = option(
        10, "validations without a better NDCG@10 before stopping; 0 never stops early", at_least=0, at_most=100_000
    )
    validate_every: int = option(1, "epochs between validations", at_least=1, at_most=100_000)
    validation_users: int = option(
        0, "a fixed random subset for validation while training; 0 takes all", at_least=0, at_most=1_000_000_000
    )
    learning_rate: float = option(2e-3, "of AdamW, after the warm-up", above=0, at_most=10)
    warmup_steps: int = option(200, "steps of linear warm-up", at_least=0, at_most=100_000_000)
    schedule: Schedule = option("cosine", "to 1 % of the learning rate over all epochs, or constant")
    weight_decay: float = option(0.0, "decoupled, on matrices only", at_least=0, at_most=10)
    clip: float = option(1.0, "largest gradient norm; 0 does not clip", at_least=0)
    ema: float = option(0.999, "decay of the averaged weights that are validated and kept", at_least=0, at_most=1)
    loss: Loss = option(
        "auto",
        f'"sampled" corrects by log q, "uniform" does not; auto: softmax below {SAMPLED_FROM:,} items, sampled above',
    )
    negatives: int = option(512, "per group of positions, for the sampled losses", at_least=1, at_most=65_536)
    negative_power: float = option(
        0.5, '"sampled" draws item i with probability ~ (count_i + 1) ** power', at_least=0, at_most=4
    )
    temperature: float = option(
        0.0, "above 0: unit-norm item embeddings, scores are cosines divided by it", at_least=0, at_most=100
    )
    label_smoothing: float = option(0.0, "full softmax only", at_least=0, below=1)
    context_power: float = option(
        0.0, "a position with c events before it weighs (c + 1) ** power", at_least=-4, at_most=4
    )
    seen_weight: float = option(
        1.0, "of seen items among the negatives: 0 leaves them out, above 1 pushes them down", at_least=0, at_most=1e6
    )
    seen: Seen = option(
        "auto",
        "items in training, evaluation and serving: excluded, or candidates as where users buy again; auto: by log",
    )
    holdout: float = option(
        0.0,
        "share of all events, the newest, after one moment that training never sees past; 0: leave-one-out",
        at_least=0,
        below=1,
    )
    carried_state: float = option(
        0.5, "probability that a window starts from the state before it instead of zeros", at_least=0, at_most=1
    )
    seed: int = option(1, "fixes weights, windows and dropout", at_least=0, at_most=2**32 - 1)
    device: Device = option("auto", "where to train; auto takes CUDA where there is any")
    precision: Precision = option("32", "of the products: float32, or bfloat16 mixed")

    def __post_init__(self) -> None:
        check_options(self)
        if self.tokens < self.window:
            raise ConfigError(
                f"expected tokens of at least the window ({self.window}); got {self.tokens}; raise it or lower window"
            )

    def loss_for(self, num_items: int) -> Loss:
        """The loss for a catalogue of so many items: what "auto" stands for."""
        if self.loss != "auto":
            return self.loss
        return "sampled" if num_items >= SAMPLED_FROM else "softmax"

    @property
    def exclude_seen(self) -> bool:
        """Whether seen items are left out of lists: the default of a bundle's `recommend`."""
        return self.seen != "candidates"

    def check_used(self, given: Iterable[str], num_items: int, carries_state: bool) -> None:
        """ConfigError for the first `given` key that this recipe would not look at."""
        loss = self.loss_for(num_items)
        reasons = {
            "negatives": f"loss={loss}" if loss == "softmax" else "",
            "negative_power": f"loss={loss}" if loss != "sampled" else "",
            "label_smoothing": f"loss={loss}" if loss != "softmax" else "",
            "carried_state": "" if carries_state else "a model without a state that holds for any history",
        }
        for key in given:
            if reasons.get(key):
                raise ConfigError(f"expected settings that have an effect; got {key} with {reasons[key]}; leave it out")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def parse_settings(model: str | ModelClass, settings: Settings) -> dict[str, Any]:
    """{key: value} of settings for `model` or the recipe, each checked by itself.

    Raises ConfigError for text without "=", a key that neither knows or that comes twice, and a value of another type
    or out of its range.
    """
    known = {**options_of(TrainingConfig), **options_of(model_class(model).config_class)}
    parsed: dict[str, Any] = {}
    for name, value in _pairs(settings):
        key = str(name)
        if key not in known:
            raise ConfigError(
                f"expected a setting out of {', '.join(sorted(known))}; got '{key}'; {_hint(model, key, known)}"
            )
        if key in parsed:
            raise ConfigError(f"expected each setting once; got {key} twice; remove one")
        parsed[key] = _value(known[key], value)
    return parsed


def _hint(model: str | ModelClass, key: str, known: Iterable[str]) -> str:
    """What may have been meant by a key that neither the model nor the recipe knows."""
    if near := get_close_matches(key, known, n=1):
        return f"did you mean {near[0]}?"
    with suppress(ConfigError):  # another package's model that does not load
        if owners := [name for name in available_models() if key in options_of(model_class(name).config_class)]:
            return f"models that know it: {', '.join(owners)}"
    return f"`deployrec models {class_spec(model_class(model))}` tells what they do"


def options_of(config_class: type) -> dict[str, Option]:
    """The options of a configuration class by key."""
    return {known.key: known for known in describe(config_class)}


def _pairs(settings: Settings) -> Iterable[tuple[str, Any]]:
    if isinstance(settings, Mapping):
        yield from settings.items()
        return
    if not isinstance(settings, Iterable):
        raise ConfigError(f"expected settings as a dict or key=value texts; got {settings!r}; give one of them")
    for setting in [settings] if isinstance(settings, str) else settings:
        key, equals, text = str(setting).partition("=")
        if not equals:
            raise ConfigError(f"expected --set key=value; got '{setting}'; write it with an equals sign")
        yield key.strip(), text.strip()


def _value(known: Option, value: Any) -> Any:
    """A text parsed, a number of numpy's as Python's, a number for a choice ("32") as its text; then checked."""
    value = value.item() if getattr(value, "ndim", None) == 0 else value
    if get_origin(known.kind) is Literal:
        value = str(value)
    if isinstance(value, str):
        return known.parse(value)
    known.check(value)
    return float(value) if known.kind is float and value is not None else value
