"""Options: what is outside a range never gets in, and the words say what would."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployrec.errors import ConfigError
from deployrec.options import Range, check_options, describe, make_config, option


@dataclass(frozen=True)
class Example:
    dim: int = option(64, "width of the model", at_least=1, at_most=4096)
    dropout: float = option(0.2, "on the embeddings", at_least=0, below=1)
    rate: float = option(1e-3, "of learning", above=0)
    kind: Literal["token", "time"] = option("time", "how keys are normed")
    gate: bool = option(True, "whether there is one")
    inner: int | None = option(None, "width inside", at_least=1)
    plain: int = 3
    name: str = "x"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("dim", 0, "a whole number from 1 to 4,096"),
        ("dim", 5000, "a whole number from 1 to 4,096"),
        ("dim", 1.0, "a whole number from 1 to 4,096"),
        ("dim", True, "a whole number from 1 to 4,096"),
        ("dim", None, "a whole number from 1 to 4,096"),
        ("dropout", 1.5, "a number from 0 up to but not including 1"),
        ("dropout", 1.0, "a number from 0 up to but not including 1"),
        ("dropout", math.nan, "a number from 0 up to but not including 1"),
        ("dropout", "0.1", "a number from 0 up to but not including 1"),
        ("rate", 0.0, "a number above 0"),
        ("rate", math.inf, "a number above 0"),
        ("kind", "space", "token or time"),
        ("gate", 1, "true or false"),
        ("inner", 0, "a whole number at least 1, or none"),
        ("plain", "3", "a whole number"),
        ("name", 3, "a text"),
    ],
)
def test_a_value_outside_is_refused_in_words(key: str, value: Any, expected: str) -> None:
    message = rf"^expected {key} as {expected}; got {value!r}; set such a value$"
    with pytest.raises(ConfigError, match=message):
        make_config(Example, {key: value}, "example")
    with pytest.raises(ConfigError, match=message):
        check_options(Example(**{key: value}))


def test_values_inside_are_kept() -> None:
    given: dict[str, Any] = {
        "dim": 1,
        "dropout": 0,
        "rate": 5,
        "kind": "token",
        "gate": False,
        "inner": 7,
        "plain": -1,
        "name": "",
    }
    assert make_config(Example, given, "example") == Example(**given)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("dim", "12", 12),
        ("dropout", "0.5", 0.5),
        ("gate", "False", False),
        ("kind", "token", "token"),
        ("inner", "none", None),
    ],
)
def test_texts_are_read(key: str, text: str, value: Any) -> None:
    assert {o.key: o for o in describe(Example)}[key].parse(text) == value


@pytest.mark.parametrize(
    ("key", "text"),
    [("dim", "1.5"), ("dim", ""), ("dropout", "nan"), ("rate", "-inf"), ("gate", "yes"), ("kind", ""), ("dim", "none")],
)
def test_texts_that_mean_no_value_are_refused(key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"expected {key} as .*; got "):
        {o.key: o for o in describe(Example)}[key].parse(text)


def test_an_unknown_key_is_named_with_those_known() -> None:
    with pytest.raises(ConfigError, match=r"expected options of example out of dim, dropout, .*; got 'width'"):
        make_config(Example, {"width": 3}, "example")


def test_describe_gives_defaults_and_meanings() -> None:
    options = describe(Example)
    assert [o.key for o in options] == ["dim", "dropout", "rate", "kind", "gate", "inner", "plain", "name"]
    assert (options[0].default, options[0].meaning) == (64, "width of the model")
    assert (options[6].default, options[6].meaning, options[6].range) == (3, "", "a whole number")


@given(st.floats(allow_nan=False), st.floats(-5, 0), st.floats(0, 5))
def test_a_range_holds_what_its_words_say(value: float, low: float, high: float) -> None:
    assert Range(at_least=low, below=high).holds(value) == (low <= value < high)
    assert Range(above=low, at_most=high).holds(value) == (low < value <= high)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Range(at_least=0, at_most=1), "from 0 to 1"),
        (Range(above=0, at_most=1), "above 0 to 1"),
        (Range(above=0), "above 0"),
        (Range(at_most=3), "at most 3"),
        (Range(below=3), "below 3"),
        (Range(), ""),
    ],
)
def test_words_of_a_range(limits: Range, words: str) -> None:
    assert str(limits) == words
