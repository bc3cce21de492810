"""Filters, allowed and forbidden items: what comes back is what a search over the whole catalogue finds."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.bundle.bundle import Bundle
from deployrec.errors import ConfigError, DataError, UnknownItemError
from deployrec.runtime import Recommender, choice, ranking
from deployrec.runtime.backends.base import Backend, load_backend
from tests.runtime.conftest import Twin, stored

KINDS = ["gru", "window", "encode-only"]
GENRES = ["Comedy", "Comedy Drama", "Drama", "", "Sci-Fi"]


class Shop(Twin):
    """A twin whose items have genres, and years but for every seventh."""

    def year(self, row: int) -> int | None:
        return None if row % 7 == 0 else 1980 + row

    def genre(self, row: int) -> str:
        return GENRES[row % len(GENRES)]

    def items(self) -> str:
        rows = range(1, self.num_items + 1)
        lines = [f"i{row},Title {row},{row % 9},{self.genre(row)},{self.year(row) or 'unknown'}" for row in rows]
        return "\n".join(["item_id,title,popularity,genre,year", *lines]) + "\n"


FILTERS: dict[str | None, Callable[[Shop, int], bool]] = {
    None: lambda shop, row: True,
    "genre == 'Comedy'": lambda shop, row: shop.genre(row) == "Comedy",
    "genre has 'Comedy' and year >= 1990": lambda shop, row: (
        "Comedy" in shop.genre(row) and (shop.year(row) or 0) >= 1990
    ),
    "not (year >= 1990)": lambda shop, row: (shop.year(row) or 0) < 1990,
    "year != 1985 and year != 1986": lambda shop, row: shop.year(row) not in (1985, 1986),
    "genre in ('Drama', '')": lambda shop, row: shop.genre(row) in ("Drama", ""),
    "popularity > 3 or item_id == 'i1'": lambda shop, row: row % 9 > 3 or row == 1,
    "title has '12'": lambda shop, row: row == 12,
    "year > 3000": lambda shop, row: False,
}
ROWS = st.lists(st.integers(1, 30), max_size=25)


@pytest.fixture(scope="module")
def shop_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recommender]:
    """New recommenders without users; bundles and sessions, which know no users, are shared."""
    made: dict[str, tuple[Bundle, Backend]] = {}

    def make(kind: str = "gru", on_unknown_item: str = "skip") -> Recommender:
        if kind not in made:
            bundle = Shop(kind).write(tmp_path_factory.mktemp("shop"))
            made[kind] = bundle, load_backend("onnxruntime", bundle)
        return Recommender(*made[kind], on_unknown_item)

    return make


@pytest.fixture(params=["as it decides", "in the graphs", "gathered", "picked"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to a filtered list, whatever the size."""
    few, gathered = {"as it decides": (3, 5), "in the graphs": (30, 5), "gathered": (0, 0), "picked": (0, 10**6)}[
        request.param
    ]
    monkeypatch.setattr(choice, "FEW_LEFT_OUT", few)
    monkeypatch.setattr(ranking, "GATHERED", gathered)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", KINDS)
def test_filtered_lists_are_those_of_a_whole_search(shop_of: Callable[..., Recommender], kind: str) -> None:
    shop = Shop(kind)

    @settings(max_examples=40, deadline=None)
    @given(
        history=st.lists(st.integers(1, 30), min_size=1, max_size=12),
        k=st.integers(1, 40),
        exclude=st.none() | ROWS,
        only=st.none() | ROWS,
        where=st.sampled_from(list(FILTERS)),
        exclude_seen=st.booleans(),
    )
    def check(
        history: list, k: int, exclude: list | None, only: list | None, where: str | None, exclude_seen: bool
    ) -> None:
        fits = FILTERS[where]
        allowed = [
            row
            for row in range(1, 31)
            if fits(shop, row) and (only is None or row in only) and row not in (exclude or ())
        ]
        named: dict[str, Any] = {
            "exclude": None if exclude is None else [f"i{row}" for row in exclude],
            "only": None if only is None else [f"i{row}" for row in only],
            "where": where,
        }
        recommender = shop_of(kind)
        ask = partial(check_list, shop, history, allowed, k, exclude_seen)
        ask(recommender.recommend_after([f"i{row}" for row in history], k, exclude_seen, **named))
        for row in history[:-1]:
            recommender.observe("ann", f"i{row}")
        ask(recommender.observe_and_recommend("ann", f"i{history[-1]}", k=k, exclude_seen=exclude_seen, **named))
        ask(recommender.recommend("ann", k, exclude_seen, **named))
        lists = recommender.recommend_many(["ann", "new"], k, exclude_seen, **named)
        ask(lists["ann"])
        popular = sorted((row for row in allowed if row % 9), key=lambda row: (-(row % 9), row))
        assert [int(found.item_id[1:]) for found in lists["new"]] == popular[:k]
        events = [(user, f"i{row}") for row in history for user in ("bob", "cat")]
        _, lists = recommender.observe_many(events, k, exclude_seen, **named)
        ask(lists["bob"])
        ask(lists["cat"])

    check()


def check_list(shop: Shop, history: list[int], allowed: list[int], k: int, exclude_seen: bool, found: Any) -> None:
    """Exactly the best of what may come, and all of it where it is fewer than k."""
    left = [row for row in allowed if not (exclude_seen and row in history)]
    scores = shop.weights["table"].astype(np.float64) @ shop.read(history)[0]
    rows = [int(entry.item_id[1:]) for entry in found]
    assert len(rows) == min(k, len(left))
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(left)
    best = sorted((scores[row] for row in left), reverse=True)[:k]
    np.testing.assert_allclose(scores[rows], best, atol=1e-4)
    np.testing.assert_allclose([entry.score for entry in found], best, atol=1e-4)


def test_the_lower_row_comes_first_among_equals() -> None:
    scores = np.array([[1, 3, 3, 3, 0, 3]], np.float32)
    best = ranking._top(scores, np.array([[2, 3, 5, 7, 8, 9]], np.int32), 3)
    assert best.items.tolist() == [[3, 5, 7]]


def test_candidates_get_the_scores_of_the_lists(shop_of: Callable[..., Recommender]) -> None:
    recommender = shop_of()
    recommender.encode_history("ann", ["i3", "i4"])
    listed = recommender.recommend("ann", 30, exclude_seen=False)
    scores = recommender.score_items("ann", [entry.item_id for entry in listed])
    np.testing.assert_allclose(scores, [entry.score for entry in listed], rtol=1e-5)
    vector, table = recommender.user_vector("ann"), recommender.item_vectors()
    assert vector is not None
    np.testing.assert_allclose(scores, [table[int(entry.item_id[1:])] @ vector for entry in listed], atol=1e-5)
    mixed = recommender.score_items("ann", ["i9", "no such item", "i3"])
    assert np.isnan(mixed).tolist() == [False, True, False]
    popular = {entry.item_id: entry.score for entry in recommender.recommend("new", 30)}
    new = recommender.score_items("new", ["i8", "i9"])
    assert new.tolist() == [pytest.approx(popular["i8"]), -np.inf]
    assert recommender.user_vector("new") is None
    assert recommender.score_items("ann", []).shape == (0,)
    with pytest.raises(UnknownItemError):
        shop_of(on_unknown_item="error").score_items("ann", ["no such item"])


def test_similar_items_are_those_of_the_highest_cosine(shop_of: Callable[..., Recommender]) -> None:
    recommender = shop_of()
    table = recommender.item_vectors()[1:].astype(np.float64)
    cosines = table @ table[4] / np.linalg.norm(table, axis=1) / np.linalg.norm(table[4])
    cosines[4] = -np.inf
    found = recommender.similar_items("i5", 7)
    assert [int(entry.item_id[1:]) for entry in found] == (np.argsort(-cosines)[:7] + 1).tolist()
    np.testing.assert_allclose([entry.score for entry in found], np.sort(cosines)[::-1][:7], atol=1e-6)
    assert {entry.item_id for entry in recommender.similar_items("i5", 30, only=["i1", "i5"])} == {"i1"}
    with pytest.raises(UnknownItemError):
        recommender.similar_items("no such item")


def test_a_bare_history_is_kept_nowhere(shop_of: Callable[..., Recommender]) -> None:
    recommender = shop_of()
    assert recommender.recommend_after([]) == recommender.recommend("new")
    assert recommender.recommend_after(["i3", "no such item"]) == recommender.recommend_after(["i3"])
    assert list(recommender.store.users()) == []


def test_many_excluded_items_and_any_kind_of_list(shop_of: Callable[..., Recommender]) -> None:
    recommender = shop_of()
    recommender.encode_history("ann", ["i3"])
    left = recommender.recommend("ann", exclude={f"i{row}" for row in range(1, 29)})
    assert {entry.item_id for entry in left} == {"i29", "i30"}
    assert recommender.recommend("ann", only=iter(["i3", "unknown"])) == []
    assert stored(recommender, "ann").seen == ["i3"]


@pytest.mark.parametrize(
    ("named", "error"),
    [
        ({"only": "i1"}, DataError),
        ({"exclude": 7}, DataError),
        ({"exclude": [None]}, DataError),
        ({"where": 7}, ConfigError),
        ({"where": "colour == 'red'"}, ConfigError),
        ({"where": "year >"}, ConfigError),
    ],
)
def test_a_wrong_filter_is_one_line_and_applies_nothing(
    shop_of: Callable[..., Recommender], named: dict[str, Any], error: type
) -> None:
    recommender = shop_of()
    with pytest.raises(error, match=r"expected .*; got .*; \w+"):
        recommender.observe_and_recommend("ann", "i1", **named)
    with pytest.raises(error):
        recommender.recommend_many(["ann"], **named)
    assert recommender.user("ann") is None


def test_an_unknown_id_is_refused_where_it_is_to_be(shop_of: Callable[..., Recommender]) -> None:
    assert shop_of().recommend("ann", only=["no such item"]) == []
    for name in ("only", "exclude"):
        with pytest.raises(UnknownItemError, match=re.escape(f"in {name}; got 'no such item'")):
            shop_of(on_unknown_item="error").recommend("ann", **{name: ["no such item"]})  # type: ignore[arg-type]
