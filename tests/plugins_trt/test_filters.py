"""Filters in C++ are those of Python: the same rows for any condition, the same lists under any choice."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.bundle.bundle import Bundle, seal
from deployrec.errors import ConfigError
from deployrec.runtime.choice import Choices
from deployrec.runtime.recommender import Recommender
from tests.plugins_trt.c_interface import Choice, Items, Native, RefusedError
from tests.plugins_trt.calls import same
from tests.runtime.test_where import BROKEN, COLUMNS

pytestmark = pytest.mark.slow
WORDS = (
    "Comedy",
    "Sci-Fi",
    "Comedy|Sci-Fi",
    "o'Neill",
    'say "x"',
    "",
    "1994",
    " 7.50 ",
    "1e3",
    "-3",
    "Été",
    "é",
    "日本",
    "a…b",
    "x_y",
)
RETIRED = (3, 4, 30)
VALUES = st.one_of(
    st.sampled_from(WORDS).flatmap(
        lambda word: st.sampled_from("'\"").map(lambda quote: quote + word.replace(quote, quote * 2) + quote)
    ),
    st.sampled_from(("1994", "7.5", "+1000", "-3.0", ".5", "5.", "1e999", "0")),
)


@pytest.fixture(scope="module")
def shop(bundle_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the columns of the filters' tests, any texts in them, and retired items."""
    path = tmp_path_factory.mktemp("shop") / "bundle"
    shutil.copytree(bundle_of("gru4rec"), path)
    bundle, rng = Bundle.open(path), np.random.default_rng(0)
    catalogue = bundle.catalogue()
    lines = ["item_id,title,popularity," + ",".join(COLUMNS)]
    for row in range(1, catalogue.num_items + 1):
        texts = ['"' + str(text).replace('"', '""') + '"' for text in rng.choice(WORDS, 1 + len(COLUMNS))]
        lines.append(f"{catalogue.item_ids[row]},{texts[0]},{catalogue.popularity[row]}," + ",".join(texts[1:]))
    (path / "items.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (path / "retired.csv").write_text("\n".join(["item_id", *(catalogue.item_ids[row] for row in RETIRED)]) + "\n")
    seal(path, {name: value for name, value in bundle.manifest.document.items() if name != "files"})
    return path


@pytest.fixture(scope="module")
def choices(shop: Path) -> Choices:
    bundle = Bundle.open(shop)
    catalogue = bundle.catalogue()
    return Choices(catalogue, bundle.retired(catalogue), strict=False)


@st.composite
def conditions(draw: st.DrawFn) -> str:
    column = draw(st.sampled_from(["year", "genre", "`release date`", "title", "item_id", "popularity", "`year`"]))
    kind = draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in", "has", "not HAS"]))
    if kind.endswith("in"):
        return f"{column} {kind} ({', '.join(draw(st.lists(VALUES, min_size=1, max_size=3)))})"
    value = draw(VALUES)
    while kind.lower().endswith("has") and value[0] not in "'\"":
        value = f"'{value}'"
    space = " " if kind[0].isalpha() else draw(st.sampled_from(["", " "]))
    return f"{column}{space}{kind} {value}"


ANY = st.recursive(
    conditions(),
    lambda parts: st.one_of(
        parts.map(lambda part: f"not ({part})"),
        st.lists(parts, min_size=2, max_size=3).map(" and ".join),
        st.lists(parts, min_size=2, max_size=3).map(" OR ".join),
    ),
    max_leaves=6,
)


def test_a_condition_finds_the_rows_that_it_finds_in_python(library: Path, shop: Path, choices: Choices) -> None:
    items, most = Items(library, shop), choices._catalogue.num_items

    @settings(max_examples=400, deadline=None)
    @given(ANY)
    def check(condition: str) -> None:
        expected = np.flatnonzero(choices.offered(choices.choose(where=condition))).tolist()
        assert items.where(condition, most) == expected, condition

    check()
    assert not set(RETIRED) & set(items.where("not (year == -12345)", most))
    assert items.c.deployrec_item_row(items.handle, choices._catalogue.item_ids[5].encode()) == 5
    assert items.c.deployrec_item_title(items.handle, ctypes.c_int64(5)).decode() == choices._catalogue.titles[5]


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(st.sampled_from(BROKEN), st.text(alphabet="year><=!'\"`()19.,e+- andorthsi", max_size=25)))
def test_what_python_refuses_is_refused_in_one_line(library: Path, shop: Path, choices: Choices, text: str) -> None:
    items = Items(library, shop)
    try:
        expected = np.flatnonzero(choices.offered(choices.choose(where=text))).tolist()
    except ConfigError:
        with pytest.raises(RefusedError, match=r"^expected .*; got .*; ") as error:
            items.where(text, choices._catalogue.num_items)
        assert "\n" not in str(error.value)
    else:
        assert items.where(text, choices._catalogue.num_items) == expected


def test_too_little_room_says_how_much_it_takes(library: Path, shop: Path) -> None:
    items = Items(library, shop)
    number = len(items.where("popularity >= 0", 10_000))
    with pytest.raises(RefusedError, match=f"expected room for {number} rows; got room for 1; call again"):
        items.where("popularity >= 0", 1)


@pytest.mark.parametrize("key", ["gru4rec", "sasrec"])
@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_lists_under_a_choice_are_those_of_python(
    key: str, storage: str, library: Path, shop: Path, bundle_of: Callable[[str], Path]
) -> None:
    path = shop if key == "gru4rec" else bundle_of(key)
    native, recommender = Native(library, bundle=path, storage=storage), Recommender.load(path)
    ids, rng = recommender.catalogue.item_ids, np.random.default_rng(1)
    number = recommender.manifest.num_items
    for turn in range(150):
        user, item, k = int(rng.integers(4)), int(rng.integers(1, number + 1)), int(rng.choice([1, 5, 40]))
        only = None if turn % 3 == 0 else rng.integers(1, number + 1, rng.choice([0, 1, 20, 300])).tolist()
        exclude = rng.integers(1, number + 1, rng.choice([0, 30])).tolist()
        may, may_not = None if only is None else [ids[row] for row in only], [ids[row] for row in exclude]
        if turn % 2:
            expected = recommender.observe_and_recommend(user, ids[item], k=k, only=may, exclude=may_not)
        else:
            recommender.observe(user, ids[item])
            native.observe([(user, item)])
            expected = recommender.recommend(user, k, only=may, exclude=may_not)
        found = native.recommend_among(user, k, Choice.of(only, exclude), item if turn % 2 else None)
        listed = [(recommender.catalogue.rows[best.item_id], best.score) for best in expected]
        if storage == "float32":
            same(found, listed)
        else:
            assert len(found) == len(listed)
            np.testing.assert_allclose([s for _, s in found], [s for _, s in listed], atol=0.05)
        assert not {row for row, _ in found} & {*exclude, *(RETIRED if path == shop else ())}


def test_a_wrong_choice_moves_nobody(library: Path, shop: Path) -> None:
    native = Native(library, bundle=shop)
    native.observe([(1, 5)])
    for choice, line in (
        (Choice.of([0]), r"expected a row that may come in 1\.\..*; got 0 in entry 0"),
        (Choice.of([10**6]), r"expected a row that may come in 1\.\.[0-9]+; got 1000000"),
        (Choice.of([5], [-1]), r"expected an excluded row in 0\.\..*; got -1"),
    ):
        for item in (None, 7):
            with pytest.raises(RefusedError, match=line):
                native.recommend_among(1, 5, choice, item)
    with pytest.raises(RefusedError, match=r"expected k in 1\.\..*; got 0"):
        native.recommend_among(1, 0, Choice.of([5]), 7)
    assert native.c.deployrec_events_of(native.handle, ctypes.c_int64(1)) == 1
