"""Recipes by model and data: `quick` for a first look, `full` for the figures worth publishing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deployrec.data import Dataset
from deployrec.errors import ConfigError
from deployrec.training.config import TrainingConfig

PRESETS = ("quick", "full")
LONG_HISTORY = 40
SMALL = 300_000
FULL = TrainingConfig(tokens=1600, validate_every=2, learning_rate=4e-3)
FULL_LONG = replace(FULL, window=600, epochs=24, patience=3, schedule="constant", seen_weight=0.0)
FULL_SHORT = replace(FULL, window=50, epochs=30)


def preset_of(name: str, model: str, dataset: Dataset) -> tuple[dict[str, Any], TrainingConfig]:
    """Options of the model and the recipe of preset `name`; ConfigError for a name that is not in PRESETS.

    Data sets fall into two kinds by mean history: from LONG_HISTORY events on (MovieLens) models need long windows and
    little dropout, below (shop reviews) short windows and much.
    """
    if name not in PRESETS:
        raise ConfigError(f"expected a preset out of {', '.join(PRESETS)}; got '{name}'; choose one of them")
    long = dataset.num_events / max(1, dataset.num_users) >= LONG_HISTORY
    options: dict[str, Any] = {"dropout": 0.1 if long else 0.5}
    recipe = FULL_LONG if long else FULL_SHORT
    if model == "glintru" and long:
        options["block_dropout"] = 0.15
    if model == "sasrec" and not long:
        options["window"] = recipe.window  # positions beyond the training's would never be learnt
    if name == "full":
        if model == "glintru" and long:
            # A carried state is what it serves from, and keeps up with the window better where the rate falls.
            recipe = replace(recipe, epochs=16, patience=10, schedule="cosine", carried_state=1.0)
        return options, recipe
    if model == "glintru":
        options["dim"] = 64
    recipe = replace(recipe, validate_every=1, validation_users=2000, patience=10)
    if not long:
        return options, replace(recipe, epochs=8)
    if dataset.num_events < SMALL:
        return options, replace(recipe, epochs=6, schedule="cosine", learning_rate=5e-3, warmup_steps=50)
    return options, replace(recipe, epochs=4)
