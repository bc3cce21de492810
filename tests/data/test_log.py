"""Any log becomes a numbered, ordered, filtered data set that still holds the same events."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deployrec.data import Dataset
from deployrec.data.log import EventLog, build_dataset, k_core
from deployrec.errors import DataError

Event = tuple[str, str, int]
IDS = st.text(min_size=1, max_size=3)
EVENTS = st.lists(st.tuples(IDS, IDS, st.integers(-3, 3)), min_size=2, max_size=60)
CODES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=80)


def log_of(events: list[Event]) -> EventLog:
    users, items, times = (list(column) for column in zip(*events, strict=True))
    return EventLog("log", pl.Series(users), pl.Series(items), np.array(times))


def dataset_of(events: list[Event]) -> Dataset:
    assume(len({user for user, _, _ in events}) > 1 and len({item for _, item, _ in events}) > 1)
    return build_dataset(log_of(events), "log")


@settings(deadline=None)
@given(EVENTS)
def test_vocabulary_is_a_bijection_by_popularity_then_first_appearance(events: list[Event]) -> None:
    dataset = dataset_of(events)
    items = [item for _, item, _ in events]
    ids = dataset.items["item_id"].to_list()
    assert ids == sorted(set(items), key=lambda item: (-items.count(item), items.index(item)))
    assert [dataset.row_of[item] for item in ids] == list(range(1, dataset.num_items + 1))
    assert dataset.items["popularity"].to_list() == [items.count(item) for item in ids]


@settings(deadline=None)
@given(EVENTS)
def test_histories_are_the_stable_chronological_order_of_each_user(events: list[Event]) -> None:
    dataset = dataset_of(events)
    assert dataset.user_ids == list(dict.fromkeys(user for user, _, _ in events))
    assert dataset.num_events == len(events)
    ids = dataset.items["item_id"].to_list()
    for number, user in enumerate(dataset.user_ids):
        own = sorted((event for event in events if event[0] == user), key=lambda event: event[2])
        assert [ids[row - 1] for row in dataset.history(number)] == [item for _, item, _ in own]


@settings(deadline=None)
@given(CODES, st.integers(1, 4), st.integers(1, 4))
def test_k_core_is_the_largest_set_that_meets_both_counts(
    pairs: list[tuple[int, int]], min_user: int, min_item: int
) -> None:
    user, item = (np.array(column) for column in zip(*pairs, strict=True))
    kept = k_core(user, item, min_user, min_item)
    assert np.array_equal(kept, np.unique(kept))
    assert all(count >= min_user for count in Counter(user[kept].tolist()).values())
    assert all(count >= min_item for count in Counter(item[kept].tolist()).values())
    # Peeling single users and items in another order ends at the same set, because the largest one is unique.
    left = list(range(len(pairs)))
    while True:
        users, items = Counter(pairs[e][0] for e in left), Counter(pairs[e][1] for e in left)
        poor = next((e for e in left if users[pairs[e][0]] < min_user or items[pairs[e][1]] < min_item), None)
        if poor is None:
            break
        left.remove(poor)
    assert kept.tolist() == left


@settings(deadline=None)
@given(EVENTS, st.data())
def test_digest_tells_logs_apart_and_only_logs(events: list[Event], data: st.DataObject) -> None:
    dataset = dataset_of(events)
    assert build_dataset(log_of(events), "another name").digest == dataset.digest
    at = data.draw(st.integers(0, len(events) - 1))
    user, item, time = events[at]
    other = data.draw(IDS.filter(lambda text: text != item))
    changed = build_dataset(
        log_of([*events[:at], (user, other, time), *events[at + 1 :], ("u", "x", 0), ("v", "y", 0)]), ""
    )
    extended = build_dataset(log_of([*events, ("u", "x", 0), ("v", "y", 0)]), "")
    assert len({dataset.digest, changed.digest, extended.digest}) == 3


def test_digest_separates_where_ids_are_cut() -> None:
    first = build_dataset(log_of([("u", "ab", 0), ("u", "c", 1), ("v", "ab", 0)]), "")
    second = build_dataset(log_of([("u", "a", 0), ("u", "bc", 1), ("v", "a", 0)]), "")
    assert np.array_equal(first.events, second.events)
    assert first.digest != second.digest


def test_digest_tells_orders_apart() -> None:
    events = [("u", "x", 0), ("u", "y", 1), ("v", "x", 0), ("v", "y", 1)]
    swapped = [*events[:2], ("v", "x", 1), ("v", "y", 0)]
    assert build_dataset(log_of(events), "").digest != build_dataset(log_of(swapped), "").digest


def test_limit_keeps_the_first_users_before_the_filter() -> None:
    events = [("a", "x", 0), ("b", "x", 1), ("c", "y", 2), ("a", "y", 3), ("b", "z", 4), ("c", "z", 5)]
    assert build_dataset(log_of(events), "", limit=2).user_ids == ["a", "b"]
    assert build_dataset(log_of(events), "", min_item=2).num_items == 3
    with pytest.raises(DataError, match="two items"):
        build_dataset(log_of(events), "", limit=2, min_item=2)


@pytest.mark.parametrize(
    ("events", "options", "text"),
    [
        ([("a", "x", 0), ("a", "y", 1)], {}, "expected at least two users in log; got one"),
        ([("a", "x", 0), ("b", "x", 1)], {}, "expected at least two items in log; got one"),
        ([("a", "x", 0), ("b", "y", 1)], {"min_user": 2}, "min_user=2 and min_item=1; got none of 2"),
    ],
)
def test_too_small_logs_are_refused_in_one_line(events: list[Event], options: dict[str, int], text: str) -> None:
    with pytest.raises(DataError) as caught:
        build_dataset(log_of(events), "log", **options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_arrays_are_read_only() -> None:
    dataset = build_dataset(log_of([("a", "x", 0), ("b", "y", 1)]), "log")
    for array in (dataset.events, dataset.offsets, dataset.history(0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5
