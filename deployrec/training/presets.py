"""Recipes by model and data: `quick` for a first look, `full` for the figures worth publishing."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from deployrec.data import Dataset
from deployrec.errors import ConfigError
from deployrec.models import ModelClass, model_class
from deployrec.models.base import Histories
from deployrec.options import check_keys
from deployrec.training.config import TrainingConfig

PRESETS = ("quick", "full")
LONG_HISTORY, FEW_EVENTS = 40, 300_000
LONG = TrainingConfig(window=600, tokens=1600, learning_rate=4e-3, schedule="constant", seen_weight=0.0, patience=3)
SHORT = TrainingConfig(window=50, tokens=1600, learning_rate=4e-3)
QUICK_STEPS, FULL_STEPS, QUICK_PATIENCE = 2500, 15_000, 5
"""Optimiser steps that a model is given: an epoch of a small log has few, so that it needs more epochs to learn."""


def preset_of(name: str, model: str | ModelClass, dataset: Dataset) -> tuple[dict[str, Any], TrainingConfig]:
    """Options of the model and the recipe of preset `name`; ConfigError for a name that is not in PRESETS.

    From a mean history of LONG_HISTORY events on (MovieLens) models need long windows, below (shop reviews) short ones
    and much dropout, which logs of fewer than FEW_EVENTS want too. The epochs follow from the number of events. What
    is particular to a model stands with the model, in its `preset`.
    """
    check_preset(name)
    cls = model_class(model)
    own = cls.preset("full" if name == "full" else "quick", histories := histories_of(dataset))
    check_keys([field.name for field in fields(TrainingConfig)], own.recipe, f"a recipe in {cls.__name__}.preset")
    return own.options, replace(_recipe(name, histories, dataset.num_events), **own.recipe)


def check_preset(name: str) -> None:
    """Raises ConfigError for a name that is not in PRESETS."""
    if name not in PRESETS:
        raise ConfigError(f"expected a preset out of {', '.join(PRESETS)}; got '{name}'; choose one of them")


def histories_of(dataset: Dataset) -> Histories:
    """The kind of a data set."""
    if dataset.num_events < LONG_HISTORY * dataset.num_users:
        return "short"
    return "few" if dataset.num_events < FEW_EVENTS else "long"


def _recipe(name: str, histories: Histories, events: int) -> TrainingConfig:
    """What all models share."""
    recipe = SHORT if histories == "short" else LONG
    steps = max(1, events // recipe.tokens)
    if name == "full":
        epochs = 30 if histories == "short" else min(60, max(24, FULL_STEPS // steps))
        return replace(recipe, validate_every=2, epochs=epochs)
    epochs = min(24, max(4, QUICK_STEPS // steps))
    return replace(recipe, validation_users=2000, epochs=epochs, patience=QUICK_PATIENCE)
