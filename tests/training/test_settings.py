"""Settings reach the model and the recipe, or are refused in one line before anything is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployrec.data import Dataset
from deployrec.errors import ConfigError
from deployrec.training import train as training
from deployrec.training.runs import DataSource


def test_settings_reach_the_model_and_the_recipe(cycles: Dataset) -> None:
    for settings in (
        ["heads=4", "ema=0.9", "key_norm=token", "precision=32"],
        {"heads": np.int64(4), "ema": 0.9, "key_norm": "token", "precision": 32},
    ):
        model, recipe = training.configure("glintru", cycles, "quick", 7, settings)
        assert (model.config.heads, model.config.key_norm) == (4, "token")
        assert (recipe.ema, recipe.seed, recipe.precision) == (0.9, 7, "32")


def test_a_key_that_both_know_changes_both(cycles: Dataset) -> None:
    model, recipe = training.configure("sasrec", cycles, "quick", settings={"window": 17})
    assert model.state_spec.exact_up_to == recipe.window == 17


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("heads", "expected --set key=value"),
        ("hedas=4", "got 'hedas'; did you mean heads"),
        ("xyz=4", "deployrec models glintru"),
        ("heads=four", "expected heads as a whole number"),
        ("key_norm=both", "expected key_norm as token or time"),
        ("loss=hinge", "expected loss as auto or softmax"),
        ("epochs=0", "expected epochs as a whole number from 1"),
        ("epochs=1.5", "expected epochs as a whole number"),
        ("ema=2", "expected ema as a number from 0 to 1"),
        ("clip=-1", "expected clip as a number at least 0"),
        ("patience=-1", "expected patience"),
        ("temperature=-1", "expected temperature"),
        ("learning_rate=nan", "expected learning_rate as a number above 0; got nan|expected learning_rate"),
        ("learning_rate=inf", "expected learning_rate"),
        ("learning_rate=0", "expected learning_rate"),
        ("weight_decay=-0.1", "expected weight_decay"),
        ("seed=-1", "expected seed"),
        ("seed=99999999999", "expected seed"),
        ("tokens=5", "expected tokens of at least the window"),
        ("validate_every=50", "expected validate_every of at most"),
        ("device=abacus", "expected device as auto or cpu or cuda"),
        ("negatives=20", "got negatives with loss=softmax"),
        ("negative_power=1", "got negative_power with loss=softmax"),
    ],
)
def test_settings_that_are_wrong(setting: str, message: str, data: DataSource, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        training.train("glintru", data, root=tmp_path / "runs", settings=[setting])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("recblr", ["dim=16", "dim=32"], "expected each setting once; got dim twice"),
        ("recblr", ["loss=uniform", "label_smoothing=0.1"], "got label_smoothing with loss=uniform"),
        ("recblr", ["loss=uniform", "negative_power=1"], "got negative_power with loss=uniform"),
        ("sasrec", ["carried_state=0.5"], "got carried_state with a model without a state"),
        ("recblr", {"epochs": True}, "expected epochs as a whole number"),
        ("recblr", {"dim": 8.5}, "expected dim as a whole number"),
        ("recblr", {"dropout": [1]}, "expected dropout"),
        ("recblr", {"dropout": np.array([0.1, 0.2])}, "expected dropout"),
        ("recblr", {3: 1}, "expected a setting out of .* got '3'"),
        ("recblr", 3, "expected settings as a dict or key=value texts; got 3"),
        ("recblr", ["dim=16", 3], "expected --set key=value; got '3'"),
        (None, (), "expected None to be a subclass of SequentialRecommender; got a NoneType"),
    ],
)
def test_settings_that_do_not_go_together(model: str, settings: Any, message: str, cycles: Dataset) -> None:
    with pytest.raises(ConfigError, match=message):
        training.configure(model, cycles, "quick", settings=settings)


def test_one_seed_is_enough(data: DataSource, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one seed; got 3 and the setting seed=4"):
        training.train("recblr", data, root=tmp_path, seed=3, settings={"seed": 4})
    with pytest.raises(ConfigError, match="expected seed"):
        training.train("recblr", data, root=tmp_path, seed=-1)
