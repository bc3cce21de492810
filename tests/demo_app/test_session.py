"""A visit against the numpy twin: whatever is clicked, undone or unknown, it holds what the model says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.data import Dataset
from deployrec_demo import session
from deployrec_demo.engine import Engine
from tests.runtime.conftest import Twin

KINDS = ("gru", "window", "encode-only")
moves = st.lists(st.one_of(st.integers(1, 30), st.sampled_from(["undo", "unknown"])), max_size=14)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(begun=st.lists(st.integers(1, 30), max_size=9), moves=moves, exclude_seen=st.booleans())
def test_any_moves_end_where_the_history_leads(
    twin_engine: Callable[[str], tuple[Twin, Engine]],
    kind: str,
    begun: list[int],
    moves: list[int | Literal["undo", "unknown"]],
    exclude_seen: bool,
) -> None:
    twin, engine = twin_engine(kind)
    visit, rows = session.start(engine, begun), [list(begun)]
    unknown = [0]
    for move in moves:
        if move == "undo":
            visit = session.undo(visit)
            rows, unknown = (rows[:-1], unknown[:-1]) if len(rows) > 1 else (rows, unknown)
        elif move == "unknown":
            visit = session.click(engine, visit, "no such item")
            rows, unknown = [*rows, rows[-1]], [*unknown, unknown[-1] + 1]
        else:
            visit = session.click(engine, visit, f"i{move}")
            rows, unknown = [*rows, [*rows[-1], move]], [*unknown, unknown[-1]]
    assert list(visit.rows) == rows[-1]
    assert visit.unknown == unknown[-1]
    places = session.top(engine, visit, exclude_seen)
    assert [place.rank for place in places] == list(range(1, len(places) + 1))
    if not rows[-1]:
        assert visit.user is None
        assert [place.row for place in places] == list(range(30, 20, -1))
        return
    user, state = twin.read(rows[-1])
    assert visit.user is not None
    np.testing.assert_allclose(visit.user[0], user, atol=1e-5)
    for name, tensor in state.items():
        np.testing.assert_allclose(visit.state[name][0], tensor, atol=1e-5)
    seen = list(dict.fromkeys(reversed(rows[-1]))) if exclude_seen else []
    expected, scores = twin.top(rows[-1], seen, 10)
    assert [place.row for place in places] == expected
    np.testing.assert_allclose([place.score for place in places], scores, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(begun=st.lists(st.integers(1, 30), max_size=5), item=st.integers(1, 30))
def test_arrows_lead_back_to_the_list_before(
    twin_engine: Callable[[str], tuple[Twin, Engine]], kind: str, begun: list[int], item: int
) -> None:
    _, engine = twin_engine(kind)
    before = session.start(engine, begun)
    ranks = {row: rank for rank, (row, _) in enumerate(session.ranked(engine, before, True), 1)}
    for place in session.top(engine, session.click(engine, before, f"i{item}")):
        assert ranks.get(place.row) == (None if place.rose is None else place.rank + place.rose)


def test_all_distinct_items_are_excluded(twin_engine: Callable[[str], tuple[Twin, Engine]]) -> None:
    _, engine = twin_engine("gru")
    rows = (*range(1, 16), 3, 15)
    assert sorted(session.excluded(engine, rows, True)[0]) == [*range(1, 16)]
    assert session.excluded(engine, rows, False).tolist() == [[0]]


def test_nothing_is_behind_the_first_moment(twin_engine: Callable[[str], tuple[Twin, Engine]]) -> None:
    _, engine = twin_engine("gru")
    visit = session.start(engine, [3, 4])
    assert session.undo(visit) is visit
    assert session.change(visit) == {}
    assert all(place.rose is None for place in session.top(engine, visit))


def test_change_is_what_the_click_added(twin_engine: Callable[[str], tuple[Twin, Engine]]) -> None:
    twin, engine = twin_engine("gru")
    visit = session.click(engine, session.start(engine, [3, 4]), "i5")
    after, before = twin.read([3, 4, 5])[1], twin.read([3, 4])[1]
    for name, moved in session.change(visit).items():
        np.testing.assert_allclose(moved, after[name] - before[name], atol=1e-5)


def test_an_unknown_item_changes_nothing(twin_engine: Callable[[str], tuple[Twin, Engine]]) -> None:
    _, engine = twin_engine("gru")
    visit = session.click(engine, session.start(engine, [3, 4]), "no such item")
    assert not visit.clicked
    assert all(not moved.any() for moved in session.change(visit).values())
    assert all(place.rose == 0 for place in session.top(engine, visit))


def test_real_histories_are_those_of_real_users(bundle_of: Callable[[str], Path], sample: Dataset) -> None:
    users = {tuple(sample.history(user)) for user in range(sample.num_users)}
    histories = Engine.load(bundle_of("recblr")).real_histories()
    assert len(histories) == 8
    assert all(tuple(rows) in users for rows in histories)
