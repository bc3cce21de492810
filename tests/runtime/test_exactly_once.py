"""An event that comes again changes nothing: known by its source's sequence for ever, by its id among the newest."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.runtime import Bundle, Event, Outcome, Recommender, books
from deployrec.runtime.backends.base import Backend, load_backend
from tests.runtime.conftest import stored

APPLIED, DUPLICATE = Outcome.APPLIED, Outcome.DUPLICATE
DELIVERIES = st.lists(
    st.builds(
        Event,
        user=st.sampled_from(["ann", "bob"]),
        item=st.integers(1, 30).map("i{}".format),
        sequence=st.none() | st.integers(0, 6),
        source=st.none() | st.sampled_from(["left", "right"]),
        event_id=st.none() | st.integers(0, 12),
        time=st.none(),
    ).map(lambda event: event if event.sequence is not None else event._replace(source=None)),
    max_size=40,
)


@pytest.fixture
def recommender(twin_bundle: Callable[..., Bundle]) -> Recommender:
    return Recommender.load(twin_bundle().path)


@pytest.fixture(scope="module")
def backend(twin_bundle: Callable[..., Bundle]) -> Backend:
    return load_backend("onnxruntime", twin_bundle())


@settings(max_examples=100, deadline=None)
@given(events=DELIVERIES, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_what_is_new_is_what_a_plain_reader_of_all_deliveries_finds(
    twin_bundle: Callable[..., Bundle], backend: Backend, events: list[Event], cuts: list[int]
) -> None:
    marks: dict[tuple[Any, Any], int] = {}
    ids: set[tuple[Any, Any]] = set()
    expected = []
    for event in events:
        source, own_id = (event.user, event.source), (event.user, event.event_id)
        new = event.sequence is None or event.sequence > marks.get(source, -1)
        new = new and (event.event_id is None or own_id not in ids)
        if new and event.sequence is not None:
            marks[source] = event.sequence
        if new:
            ids.add(own_id)
        expected.append(APPLIED if new else DUPLICATE)
    together, singly = (Recommender(twin_bundle(), backend) for _ in range(2))
    edges = [0, *sorted(cuts), len(events)]
    parts = [events[start:end] for start, end in pairwise(edges)]
    assert [outcome for part in parts for outcome in together.observe_many(part)] == expected
    assert [singly.observe(*event) for event in events] == expected
    for user in {event.user for event, outcome in zip(events, expected, strict=True) if outcome}:
        found, other = stored(together, str(user)), stored(singly, str(user))
        assert (
            found.sequences == other.sequences == {s or "": mark for (name, s), mark in marks.items() if name == user}
        )
        assert found.num_events == other.num_events
        assert found.seen == other.seen
        np.testing.assert_allclose(found.user_vector, other.user_vector, atol=1e-5)


def test_a_sequence_is_known_at_any_distance(recommender: Recommender) -> None:
    history = [("ann", f"i{1 + n % 30}", None, None, n) for n in range(20_000)]
    assert recommender.observe_many(history) == [APPLIED] * 20_000
    assert recommender.observe_many(history) == [DUPLICATE] * 20_000
    assert recommender.observe("ann", "i1", sequence=0) is DUPLICATE
    assert recommender.observe("ann", "i1", sequence=19_999) is DUPLICATE
    assert recommender.observe("ann", "i1", sequence=0, source="another") is APPLIED
    assert recommender.observe("bob", "i1", sequence=0) is APPLIED
    assert recommender.observe("ann", "i1", sequence=20_005) is APPLIED
    assert recommender.observe("ann", "i1", sequence=20_003) is DUPLICATE
    assert stored(recommender, "ann").sequences == {"": 20_005, "another": 0}
    assert stored(recommender, "ann").num_events == 20_002
    before = [entry.item_id for entry in recommender.recommend("ann")]
    assert [e.item_id for e in recommender.observe_and_recommend("ann", "i9", sequence=7)] == before
    recommender.forget("ann")
    assert recommender.observe("ann", "i1", sequence=0) is APPLIED


def test_sequences_and_ids_outlive_the_process(twin_bundle: Callable[..., Bundle], tmp_path: object) -> None:
    for outcome in (APPLIED, DUPLICATE):
        with Recommender.load(twin_bundle().path, store=f"file:{tmp_path}/users.npz") as recommender:
            assert recommender.observe("ann", "i1", sequence=2**63 - 1, source="kafka/é") is outcome
            assert recommender.observe("ann", "i1", "e") is outcome


def test_single_events_that_come_again_are_known_among_several_thousand(recommender: Recommender) -> None:
    events = [("ann", f"i{1 + n % 30}", f"e-{n}") for n in range(books.REMEMBERED)]
    assert recommender.observe_many(events) == [APPLIED] * books.REMEMBERED
    assert recommender.observe(*events[0]) is DUPLICATE
    for event in events[::97]:
        assert recommender.observe(*event) is DUPLICATE
    assert recommender.observe("ann", "i1", "another") is APPLIED
    assert recommender.observe(*events[1]) is DUPLICATE
    rows = recommender.store.read(["ann"])
    assert len(rows.event_hashes[0]) == books.HASH_BYTES * books.REMEMBERED


@pytest.mark.parametrize("number", [100, 25_000])
def test_a_run_that_comes_again_in_one_call_is_known_from_its_beginning(recommender: Recommender, number: int) -> None:
    events = [("ann", f"i{1 + n % 30}", f"e-{n}") for n in range(number)]
    for start in range(0, number, 5000):
        assert recommender.observe_many(events[start : start + 5000]) == [APPLIED] * len(events[start : start + 5000])
    # A second source that was never delivered in this order lies between.
    recommender.observe_many([("ann", "i3", f"other-{n}") for n in range(50)])
    assert recommender.observe_many(events) == [DUPLICATE] * number
    assert recommender.observe_many([*events[:90], *events[-6000:], ("ann", "i5", "new")])[-1] is APPLIED
    assert stored(recommender, "ann").num_events == number + 51


def test_a_new_event_in_front_of_a_late_duplicate_is_not_lost(recommender: Recommender) -> None:
    events = [("ann", f"i{1 + n % 30}", f"e-{n}") for n in range(20_000)]
    recommender.observe_many(events)
    assert recommender.observe_many([("ann", "i1", "new"), events[-1000]]) == [APPLIED, DUPLICATE]
    assert recommender.observe_many([("ann", "i1"), ("ann", "i1", "newer"), events[-10]]) == [
        APPLIED,
        APPLIED,
        DUPLICATE,
    ]


def test_a_hash_is_found_only_where_one_begins() -> None:
    known = bytes(range(24))
    for start in range(17):
        assert books._find(known, known[start : start + 8]) == (start if start % 8 == 0 else -1)
    # Once across the edge of two, then itself.
    assert books._find(b"\0\0\0\1" + b"\0\1\0\0" + b"\1\0\0\0", b"\1\0\0\0") == 8
