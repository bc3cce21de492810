"""Recipes by model and data: `quick` for a first look, `full` for the figures worth publishing."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from deployrec.data import Dataset
from deployrec.errors import ConfigError
from deployrec.models import ModelClass, model_class
from deployrec.options import check_keys
from deployrec.training.config import TrainingConfig

PRESETS = ("quick", "full")
LONG_HISTORY = 40
SMALL = 300_000
FULL = TrainingConfig(tokens=1600, validate_every=2, learning_rate=4e-3)
FULL_LONG = replace(FULL, window=600, epochs=24, patience=3, schedule="constant", seen_weight=0.0)
FULL_SHORT = replace(FULL, window=50, epochs=30)


def preset_of(name: str, model: str | ModelClass, dataset: Dataset) -> tuple[dict[str, Any], TrainingConfig]:
    """Options of the model and the recipe of preset `name`; ConfigError for a name that is not in PRESETS.

    Data sets fall into two kinds by mean history: from LONG_HISTORY events on (MovieLens) models need long windows,
    below (shop reviews) short ones. What is particular to a model stands with the model, in its `preset`.
    """
    check_preset(name)
    long = dataset.num_events / max(1, dataset.num_users) >= LONG_HISTORY
    cls = model_class(model)
    own = cls.preset("full" if name == "full" else "quick", "long" if long else "short")
    check_keys([field.name for field in fields(TrainingConfig)], own.recipe, f"a recipe in {cls.__name__}.preset")
    return own.options, replace(_recipe(name, long, dataset.num_events < SMALL), **own.recipe)


def check_preset(name: str) -> None:
    """Raises ConfigError for a name that is not in PRESETS."""
    if name not in PRESETS:
        raise ConfigError(f"expected a preset out of {', '.join(PRESETS)}; got '{name}'; choose one of them")


def _recipe(name: str, long: bool, small: bool) -> TrainingConfig:
    """What all models share."""
    recipe = FULL_LONG if long else FULL_SHORT
    if name == "full":
        return recipe
    recipe = replace(recipe, validate_every=1, validation_users=2000, patience=10)
    if not long:
        return replace(recipe, epochs=8)
    if small:
        return replace(recipe, epochs=6, schedule="cosine", learning_rate=5e-3, warmup_steps=50)
    return replace(recipe, epochs=4)
