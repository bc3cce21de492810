"""How classes are found: by file, entry point or module:Class; and what is said of one that is not there or whole."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deployrec.errors import ConfigError
from deployrec.models import available_models, build_model, class_spec, identity, model_class, spec_of

MODULE = """
from dataclasses import dataclass
from deployrec.models import SequentialRecommender
from deployrec.state import StateSpec, StateTensor

@dataclass(frozen=True)
class Config:
    dim: int = 6

class Sum(SequentialRecommender):
    config_class = Config
    def __init__(self, num_items, config):
        super().__init__(num_items, config, StateSpec((StateTensor("0.sum", (config.dim,)),)))
    def step(self, items, state):
        total = state["0.sum"] + self.embedding(items)
        return total, {"0.sum": total}
"""
Package = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Writes a module that can be imported; `points` makes it an installed package with those entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, content: str, points: str = "") -> str:
        (tmp_path / f"{name}.py").write_text(content)
        monkeypatch.delitem(sys.modules, name, raising=False)
        if points:
            info = tmp_path / f"{name}-1.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
            (info / "entry_points.txt").write_text(f"[deployrec.models]\n{points}\n")
        return name

    return write


def test_ours_are_the_files_of_the_folder() -> None:
    baselines = ["bert4rec", "caser", "fmlprec", "fpmc", "gru4rec", "lrurec", "mamba4rec", "narm", "sasrec"]
    assert available_models() == sorted([*baselines, "glintru", "recblr"])
    for key in available_models():
        cls = model_class(key)
        assert cls.key == class_spec(cls) == key
        assert identity(build_model(key, 3)).keys() == {"key", "config"}
    assert model_class("deployrec.models.recblr:RecBLR") is model_class("recblr")


def test_a_class_of_another_module_is_found_again_by_what_is_recorded(package: Package) -> None:
    package("outside_sum", MODULE)
    model = build_model("outside_sum:Sum", 5, {"dim": 3})
    recorded = identity(model)
    assert recorded == {"key": "sum", "config": {"dim": 3}, "class": "outside_sum:Sum"}
    assert model_class(spec_of(recorded)) is type(model) is model_class(type(model))


def test_the_current_folder_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lies_here.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    assert model_class("lies_here:Sum").key == "sum"


@pytest.mark.parametrize("target", ["offers_sum:Sum", "offers_sum"])
def test_an_entry_point_offers_a_class_or_a_module_with_one(package: Package, target: str) -> None:
    package("offers_sum", MODULE, points=f"running-sum = {target}")
    assert "running-sum" in available_models()
    cls = model_class("running-sum")
    assert (cls.key, class_spec(cls)) == ("sum", "offers_sum:Sum")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nextitnet", "expected one of the models bert4rec, .*; got 'nextitnet'"),
        ("", "expected one of the models"),
        (":Sum", "expected a model as package.module:Class; got ':Sum'"),
        ("broken_sum:", "expected a model as package.module:Class; got 'broken_sum:'"),
        (
            "no_such_module:Sum",
            "expected a module no_such_module to import; got none of that name; install its package",
        ),
        ("json.nothing:Sum", "expected a module json.nothing to import; got none of that name"),
        ("whole_sum:Total", "expected a class Total in whole_sum; got a module with Sum; name one that is there"),
        ("whole_sum:Config", "expected whole_sum:Config to be a subclass of SequentialRecommender; got a type"),
        (
            "whole_sum:dataclass",
            "expected whole_sum:dataclass to be a subclass of SequentialRecommender; got a function",
        ),
        ("broken_sum:Sum", "expected a module broken_sum to import; got ZeroDivisionError: division by zero; mend it"),
        (
            "needs_other:Sum",
            "expected a module needs_other to import; got ModuleNotFoundError: No module named 'absent'",
        ),
        ("json:JSONDecoder", "expected json:JSONDecoder to be a subclass of SequentialRecommender; got a type"),
    ],
)
def test_a_spec_that_names_no_model_is_one_line(package: Package, spec: str, message: str) -> None:
    package("whole_sum", MODULE)
    package("broken_sum", "1 / 0")
    package("needs_other", "import absent")
    with pytest.raises(ConfigError, match=message) as error:
        model_class(spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("def step", "def stride"), "to define step, or encode where it has no state; got neither"),
        (("config_class = Config", "pass"), "to have a dataclass as config_class; got none"),
        (("config_class = Config", "config_class = dict"), "to have a dataclass as config_class; got <class 'dict'>"),
        (("dim: int = 6", "width: int = 6"), "to have a field dim in its config_class"),
        (("dim: int = 6", "dim: int"), "to have a default for every field of its config_class; got none for dim"),
    ],
)
def test_what_a_class_lacks_is_named(package: Package, change: tuple[str, str], message: str) -> None:
    name = package("lacking_sum", MODULE.replace(*change))
    with pytest.raises(ConfigError, match=f"expected lacking_sum:Sum {message}"):
        model_class(f"{name}:Sum")


def test_an_entry_point_that_does_not_load_is_one_line(package: Package) -> None:
    package("breaks", "raise RuntimeError('first line\\nsecond')", points="breaking = breaks:Sum")
    with pytest.raises(
        ConfigError, match=r"expected breaks:Sum to load, .*'breaking' of the models; got RuntimeError: fi"
    ):
        model_class("breaking")
    package("two_sums", MODULE + "\nclass Other(Sum):\n    pass\n", points="two = two_sums")
    with pytest.raises(
        ConfigError, match="expected one model in two_sums for two; got Sum, Other; name it as two_sums:"
    ):
        model_class("two")
