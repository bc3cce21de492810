"""The language of filters: what it accepts means what Python's own operators say, and all else is one clear line."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.errors import ConfigError
from deployrec.runtime.choice import ORDERS
from deployrec.runtime.where import DEEPEST, Both, Compared, Either, Not, evaluate, parse

COLUMNS = {"year": 1994.0, "genre": "Comedy Sci-Fi", "release date": "1994-05-01"}
TEXTS = st.sampled_from(["Comedy", "Sci-Fi", "Comedy Sci-Fi", "o'Neill", 'say "x"', "", "1994", "`", "not"])
NUMBERS = st.floats(-3000, 3000, allow_nan=False).map(lambda number: round(number, 2))


def quoted(text: str, quote: str) -> str:
    return quote + text.replace(quote, quote * 2) + quote


@st.composite
def comparisons(draw: st.DrawFn) -> tuple[str, bool]:
    """A comparison, and what Python says of it."""
    name = draw(st.sampled_from(list(COLUMNS)))
    own = COLUMNS[name]
    column = f"`{name}`" if " " in name else draw(st.sampled_from([name, f"`{name}`"]))
    quote = draw(st.sampled_from("'\""))
    values = draw(st.lists(TEXTS if isinstance(own, str) else NUMBERS, min_size=1, max_size=3))
    shown = [quoted(value, quote) if isinstance(value, str) else repr(value) for value in values]
    kind = draw(st.sampled_from([*ORDERS, "in", "not in", *(["has", "not has"] if isinstance(own, str) else [])]))
    if kind.endswith("in"):
        return f"{column} {kind} ({', '.join(shown)})", (own in values) == (kind == "in")
    if kind.endswith("has"):
        found = re.search(rf"(?<!\w){re.escape(str(values[0]))}(?!\w)", str(own)) is not None
        return f"{column} {kind} {shown[0]}", found == (kind == "has")
    return f"{column}{draw(st.sampled_from(['', ' ']))}{kind} {shown[0]}", bool(ORDERS[kind](own, values[0]))


def joined(parts: Any) -> Any:
    """Larger conditions of smaller ones."""
    several = st.lists(parts, min_size=2, max_size=3)
    return st.one_of(
        parts.map(lambda part: (f"not ({part[0]})", not part[1])),
        several.map(lambda p: (" AND ".join(f"({text})" for text, _ in p), all(true for _, true in p))),
        several.map(lambda p: (" or ".join(f"({text})" for text, _ in p), any(true for _, true in p))),
    )


def answered(test: Compared) -> np.bool:
    own = COLUMNS[test.column]
    if test.order == "has":
        return np.bool(re.search(rf"(?<!\w){re.escape(str(test.values[0]))}(?!\w)", str(own)) is not None)
    return np.bool(any(ORDERS["==" if test.order == "in" else test.order](own, value) for value in test.values))


@settings(max_examples=300, deadline=None)
@given(st.recursive(comparisons(), joined, max_leaves=6))
def test_a_condition_means_what_python_says(case: tuple[str, bool]) -> None:
    text, true = case
    assert bool(evaluate(parse(text), answered)) == true, text


def test_not_binds_closer_than_and_and_and_closer_than_or() -> None:
    a, b, c = (Compared(name, "==", (1.0,)) for name in "abc")
    assert parse("a == 1 or b == 1 and c == 1") == Either((a, Both((b, c))))
    assert parse("not a == 1 and b == 1") == Both((Not(a), b))
    assert parse("(a == 1 or b == 1) and c == 1") == Both((Either((a, b)), c))


BROKEN = [
    *("", "   ", "genre", "genre = 'x'", "genre == ", "genre == x", "(year > 1", "year > 1)", "genre has 3", "not"),
    *("year not == 3", "'a' == genre", "year > 1 and", "or year > 1", "year > 1 $", "year > 1 year < 3", "genre == 'x"),
    *("genre in 'x'", "genre in ()", "genre in ('x',)", "year > 1.2.3", "year > 12abc", "year == None", "`` == 1"),
    *("__import__('os')", "year > 1; drop", "genre == 'a' == 'b'", "year > --1"),
    "(" * (DEEPEST + 1) + "year > 1" + ")" * (DEEPEST + 1),
    "not " * 5000 + "year > 1",
    "year > 1 or " * 2000 + "year > 1",
]


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:20] or "empty")
def test_a_filter_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected .*; got .*; \w+") as error:
        parse(text)
    assert "\n" not in str(error.value)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab '\"`()<>=!,1.-\n or and not in has"), max_size=40))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    with suppress(ConfigError):
        parse(text)
