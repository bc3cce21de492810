"""The presets, pinned: figures in the README and docs stand on these values."""

from __future__ import annotations

from dataclasses import make_dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from deployrec.errors import ConfigError
from deployrec.models import Preset, SequentialRecommender, model_class
from deployrec.models.recblr import RecBLR
from deployrec.training.config import TrainingConfig
from deployrec.training.presets import preset_of

DATA: dict[str, Any] = {
    "few": SimpleNamespace(num_events=119_237, num_users=2_000),
    "short": SimpleNamespace(num_events=200_000, num_users=20_000),
    "long": SimpleNamespace(num_events=1_000_000, num_users=6_040),
}
LONG = {"window": 600, "tokens": 1600, "learning_rate": 0.004, "schedule": "constant", "seen_weight": 0.0}
SHORT = {"window": 50, "tokens": 1600, "learning_rate": 0.004}
QUICK = {"validation_users": 2000, "patience": 5}
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("quick", "few"): {**LONG, **QUICK, "epochs": 24},
    ("quick", "short"): {**SHORT, **QUICK, "epochs": 20},
    ("quick", "long"): {**LONG, **QUICK, "epochs": 4},
    ("full", "few"): {**LONG, "epochs": 60, "patience": 3, "validate_every": 2},
    ("full", "short"): {**SHORT, "epochs": 30, "validate_every": 2},
    ("full", "long"): {**LONG, "epochs": 24, "patience": 3, "validate_every": 2},
}
"""What differs from the defaults of `TrainingConfig`."""
GLINT_RU = {**LONG, "epochs": 16, "validate_every": 2, "schedule": "cosine", "carried_state": 1.0}
OWN_RECIPES: dict[tuple[str, str, str], dict[str, Any]] = {
    ("glintru", "full", "few"): GLINT_RU,
    ("glintru", "full", "long"): GLINT_RU,
    ("mamba4rec", "quick", "few"): {**RECIPES["quick", "few"], "epochs": 12},
    ("bert4rec", "full", "few"): {
        **RECIPES["full", "few"],
        "window": 199,
        "learning_rate": 0.001,
        "patience": 10,
    },
}
"""Of models that change the recipe."""
OPTIONS: dict[tuple[str, str, str], dict[str, Any]] = {
    ("glintru", "quick", "few"): {"dropout": 0.3, "block_dropout": 0.15, "dim": 64},
    ("glintru", "quick", "short"): {"dropout": 0.5, "dim": 64},
    ("glintru", "quick", "long"): {"dropout": 0.1, "block_dropout": 0.15, "dim": 64},
    ("glintru", "full", "few"): {"dropout": 0.3, "block_dropout": 0.15},
    ("glintru", "full", "short"): {"dropout": 0.5},
    ("glintru", "full", "long"): {"dropout": 0.1, "block_dropout": 0.15},
    ("sasrec", "quick", "short"): {"dropout": 0.5, "window": 50},
    ("sasrec", "full", "short"): {"dropout": 0.5, "window": 50},
    ("mamba4rec", "quick", "few"): {"dropout": 0.3},
    ("mamba4rec", "full", "short"): {"dropout": 0.35},
    ("bert4rec", "full", "few"): {"dropout": 0.2, "window": 199},
    **{
        (model, preset, kind): {"dropout": dropout}
        for model in ("gru4rec", "recblr", "lrurec")
        for preset in ("quick", "full")
        for kind, dropout in {"few": 0.3, "short": 0.5, "long": 0.1}.items()
    },
}


@pytest.mark.parametrize(("model", "preset", "kind"), OPTIONS)
def test_a_preset_comes_to_these_values(model: str, preset: str, kind: str) -> None:
    options = OPTIONS[model, preset, kind]
    changes = OWN_RECIPES.get((model, preset, kind), RECIPES[preset, kind])
    assert preset_of(preset, model, DATA[kind]) == (options, replace(TrainingConfig(), **changes))
    model_class(model).config_class(**options)


def test_a_model_with_a_preset_of_its_own_is_asked_and_checked() -> None:
    class Own(RecBLR):
        @classmethod
        def preset(cls, name: str, histories: str) -> Preset:
            return Preset({"dim": 8}, {"learning_rate": 0.5} if name == "quick" else {"lr": 0.5})

    assert preset_of("quick", Own, DATA["long"])[0] == {"dim": 8}
    assert preset_of("quick", Own, DATA["long"])[1].learning_rate == 0.5
    with pytest.raises(ConfigError, match=r"expected options of a recipe in Own.preset out of .*; got 'lr'"):
        preset_of("full", Own, DATA["long"])


def test_a_model_without_dropout_is_given_none() -> None:
    class Plain(SequentialRecommender):
        config_class = make_dataclass("Config", [("dim", int, 8)])

    assert Plain.preset("quick", "long") == Preset({}, {})
