"""What a training run can be told, and how `--set key=value` reaches it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from deployrec.errors import ConfigError
from deployrec.models import ModelClass, model_class

Loss = Literal["auto", "softmax", "sampled", "uniform"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["32", "bf16"]


@dataclass(frozen=True)
class TrainingConfig:
    """The recipe of one run; the presets choose it, `--set` changes it."""

    window: int = 200  # events a training window holds at most, and the history a windowed evaluation reads
    tokens: int = 3200  # padded events in a batch
    epochs: int = 50
    patience: int = 10  # validations without a better NDCG@10 before stopping; 0 never stops early
    validate_every: int = 1  # epochs
    validation_users: int = 0  # a fixed random subset for validation while training; 0 takes all
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    schedule: Schedule = "cosine"  # to 1 % of the learning rate over all epochs, or constant
    weight_decay: float = 0.0  # decoupled, on matrices only
    clip: float = 1.0  # gradient norm; 0 does not clip
    ema: float = 0.999  # decay of the averaged weights that are validated and kept
    loss: Loss = "auto"  # "sampled" corrects by log q, "uniform" does not, "auto" decides by the catalogue's size
    negatives: int = 512  # per group of positions, for the sampled losses
    negative_power: float = 0.5  # "sampled" draws item i with probability ~ (count_i + 1) ** power
    temperature: float = 0.0  # above 0: unit-norm item embeddings, scores are cosines divided by it
    label_smoothing: float = 0.0  # full softmax only
    context_power: float = 0.0  # a position with c events before it weighs (c + 1) ** power
    seen_weight: float = 1.0  # of seen items among the negatives: 0 leaves them out, above 1 pushes them down
    carried_state: float = 0.5  # probability that a window starts from the state before it instead of zeros
    seed: int = 1
    device: str = "auto"
    precision: Precision = "32"

    def __post_init__(self) -> None:
        for name in ("window", "tokens", "epochs", "validate_every", "negatives", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"expected {name} above 0; got {getattr(self, name)}; set a positive value")
        if self.seen_weight < 0:
            raise ConfigError(f"expected seen_weight of 0 or more; got {self.seen_weight}; set such a value")
        for name in ("carried_state", "ema", "label_smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"expected {name} between 0 and 1; got {getattr(self, name)}; set it inside that range"
                )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def apply_settings(
    model: str | ModelClass, model_config: dict[str, Any], training: TrainingConfig, settings: Iterable[str]
) -> tuple[dict[str, Any], TrainingConfig]:
    """Applies "key=value" texts to the model's options and to the recipe; a key that both know changes both.

    Raises ConfigError for text without "=", an unknown key, or a value of another type.
    """
    model_types, training_types = get_type_hints(model_class(model).config_class), get_type_hints(TrainingConfig)
    model_keys = {field.name for field in fields(model_class(model).config_class)}
    model_config = dict(model_config)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"expected --set key=value; got '{setting}'; write it with an equals sign")
        known = model_keys | set(training_types)
        if key not in known:
            raise ConfigError(f"expected a setting out of {', '.join(sorted(known))}; got '{key}'; rename or remove it")
        if key in model_keys:
            model_config[key] = _parse(key, text, model_types[key])
        if key in training_types:
            training = replace(training, **{key: _parse(key, text, training_types[key])})
    return model_config, training


def _parse(key: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        expected = f"out of {', '.join(get_args(kind))}"
        if text in get_args(kind):
            return text
    elif kind is bool:
        expected = "as true or false"
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    elif kind in (int, float):
        expected = "as a whole number" if kind is int else "as a number"
        try:
            return kind(text)
        except ValueError:
            pass
    else:
        return text
    raise ConfigError(f"expected {key} {expected}; got '{text}'; give such a value")
