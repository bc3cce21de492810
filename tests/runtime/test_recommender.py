"""The recommender against its numpy twin: any way of observing, any order of users, the caller's own ids."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployrec.errors import BundleError, ConfigError, UnknownItemError
from deployrec.runtime import Bundle, Event, Outcome, Recommender
from deployrec.runtime.backends.base import Backend, load_backend
from tests.runtime.conftest import Twin, stored, through_calls

KINDS = ["gru", "window", "encode-only"]
USERS = ["ann", "bob", "7"]
EVENTS = st.lists(st.tuples(st.sampled_from(USERS), st.integers(1, 30)), max_size=40)
LONG = [(USERS[n % 2], 1 + 7 * n % 30) for n in range(40)]


@pytest.fixture(scope="session")
def recommender_of(twin_bundle: Callable[..., Bundle]) -> Callable[..., Recommender]:
    """New recommenders without users; the sessions, which know no users, are shared."""
    backends: dict[str, Backend] = {}

    def make(kind: str = "gru", on_unknown_item: str = "skip") -> Recommender:
        bundle = twin_bundle(kind=kind)
        if kind not in backends:
            backends[kind] = load_backend("onnxruntime", bundle)
        return Recommender(bundle, backends[kind], on_unknown_item)

    return make


def rows_of(recommender: Recommender, user: str, k: int, exclude_seen: bool = True) -> list[int]:
    return [int(found.item_id[1:]) for found in recommender.recommend(user, k, exclude_seen)]


def assert_stands_at(recommender: Recommender, twin: Twin, user: str, rows: list[int]) -> None:
    """The stored user is what the twin computes from the whole history."""
    record = recommender.user(user)
    assert record is not None
    expected_user, expected_state = twin.read(rows)
    np.testing.assert_allclose(record.user_vector, expected_user, atol=1e-5)
    window = recommender.manifest.state.exact_up_to
    if window is None or len(rows) <= window:
        for name, tensor in expected_state.items():
            np.testing.assert_allclose(record.state[name], tensor, atol=1e-5)
    assert record.num_events == len(rows)
    newest = list(dict.fromkeys(reversed(rows)))
    assert record.seen == [f"i{row}" for row in reversed(newest)]
    items, scores = twin.top(rows, newest, 12)
    found = recommender.recommend(user, k=12)
    assert [int(entry.item_id[1:]) for entry in found] == items
    np.testing.assert_allclose([entry.score for entry in found], scores, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@example(events=LONG, cuts=[3, 20, 21])
@example(events=LONG, cuts=list(range(40)))
@given(events=EVENTS, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_every_way_of_observing_ends_in_the_same_state(
    recommender_of: Callable[..., Recommender], twin_of: Callable, kind: str, events: list, cuts: list[int]
) -> None:
    together, one_by_one, encoded = (recommender_of(kind) for _ in range(3))
    edges = [0, *sorted(cuts), len(events)]
    for start, end in itertools.pairwise(edges):
        part = [Event(user, f"i{row}") for user, row in events[start:end]]
        assert together.observe_many(part) == [Outcome.APPLIED] * len(part)
    for user, row in events:
        assert one_by_one.observe(user, f"i{row}") is Outcome.APPLIED
    for user in USERS:
        history = [row for name, row in events if name == user]
        middle = len(history) // 2
        encoded.encode_history(user, [f"i{row}" for row in history[:middle]])
        encoded.encode_history(user, [f"i{row}" for row in history[middle:]])
        for recommender in (together, one_by_one, encoded):
            if history:
                assert_stands_at(recommender, twin_of(kind), user, history)
            else:
                assert rows_of(recommender, user, k=3) == [30, 29, 28]


@pytest.mark.parametrize("kind", KINDS)
@example(rows=[row for _, row in LONG], k=3, exclude_seen=True)
@given(rows=st.lists(st.integers(1, 30), min_size=1, max_size=20), k=st.integers(1, 12), exclude_seen=st.booleans())
@settings(max_examples=25, deadline=None)
def test_one_call_answers_as_two(
    recommender_of: Callable[..., Recommender], kind: str, rows: list[int], k: int, exclude_seen: bool
) -> None:
    once, twice = recommender_of(kind), recommender_of(kind)
    for row in rows:
        found = once.observe_and_recommend("ann", f"i{row}", k=k, exclude_seen=exclude_seen)
        twice.observe("ann", f"i{row}")
        expected = twice.recommend("ann", k=k, exclude_seen=exclude_seen)
        assert [entry.item_id for entry in found] == [entry.item_id for entry in expected]
        np.testing.assert_allclose([e.score for e in found], [e.score for e in expected], atol=1e-5)
        seen = set(stored(twice, "ann").seen)
        assert len(found) == min(k, 30 - len(seen) if exclude_seen else 30)
        if exclude_seen:
            assert not {entry.item_id for entry in found} & seen


def test_titles_and_own_ids_come_back(recommender_of: Callable[..., Recommender]) -> None:
    recommender = recommender_of()
    recommender.observe(7, "i3")
    assert recommender.recommend("7") == recommender.recommend(7)
    best = recommender.recommend(7, k=1)[0]
    assert best.title == f'Title {best.item_id[1:]}, "the" film'


def test_a_user_without_events_gets_the_popular_items_with_log_shares(
    recommender_of: Callable[..., Recommender],
) -> None:
    found = recommender_of().recommend("nobody", k=2)
    assert [entry.item_id for entry in found] == ["i30", "i29"]
    assert found[1].score == pytest.approx(math.log(29 / sum(range(1, 31))))


@pytest.mark.parametrize("path", ["observe", "observe_and_recommend", "observe_many"])
def test_an_event_id_is_applied_once(recommender_of: Callable[..., Recommender], path: str) -> None:
    recommender, reference = recommender_of(), recommender_of()
    events = [("ann", "i1", "a"), ("bob", "i2", "a"), ("ann", "i3", 5), ("ann", "i1", "a"), ("ann", "i4", "5")]
    if path == "observe_many":
        applied, duplicate = Outcome.APPLIED, Outcome.DUPLICATE
        first = [applied, applied, applied, duplicate, duplicate]
        assert recommender.observe_many([*events, *events]) == [*first, *[duplicate] * 5]
        assert recommender.observe_many(events) == [duplicate] * 5
    else:
        for event in [*events, *events]:
            getattr(recommender, path)(*event)
    reference.observe_many([("ann", "i1"), ("bob", "i2"), ("ann", "i3")])
    for user in ("ann", "bob"):
        np.testing.assert_array_equal(stored(recommender, user).user_vector, stored(reference, user).user_vector)
        assert stored(recommender, user).num_events == stored(reference, user).num_events
    assert stored(recommender, "ann").last_event_id == "5"


@pytest.mark.parametrize("number", [65, 100, 1000])
def test_a_run_that_comes_again_changes_nothing_whatever_its_length(
    recommender_of: Callable[..., Recommender], number: int
) -> None:
    recommender = recommender_of()
    events = [("ann", f"i{1 + n % 30}", f"e-{n}") for n in range(number)]
    assert sum(recommender.observe(*event) for event in events[:100]) == min(number, 100)
    assert sum(recommender.observe_many(events)) == max(0, number - 100)
    before = stored(recommender, "ann")
    assert sum(recommender.observe(*event) for event in events[:100]) == 0
    assert recommender.observe_many(events) == [Outcome.DUPLICATE] * number
    assert recommender.observe("ann", "i1", "e-0") is Outcome.DUPLICATE
    after = stored(recommender, "ann")
    assert after.num_events == before.num_events == number
    np.testing.assert_array_equal(after.user_vector, before.user_vector)


def test_the_last_event_is_described(recommender_of: Callable[..., Recommender]) -> None:
    recommender = recommender_of()
    recommender.observe("ann", "i1", event_id="x", time=12.5)
    assert (stored(recommender, "ann").last_event_id, stored(recommender, "ann").last_time) == ("x", 12)
    recommender.observe("ann", "i2")
    assert (stored(recommender, "ann").last_event_id, stored(recommender, "ann").last_time) == (None, None)
    assert recommender.user("bob") is None


def test_unknown_items_are_skipped_and_counted(recommender_of: Callable[..., Recommender]) -> None:
    recommender = recommender_of()
    assert recommender.observe("ann", "gone") is Outcome.UNKNOWN_ITEM
    unknown = Outcome.UNKNOWN_ITEM
    assert recommender.observe_many([("ann", "i1"), ("ann", "gone"), ("bob", "gone")]) == [
        Outcome.APPLIED,
        unknown,
        unknown,
    ]
    assert recommender.encode_history("ann", ["gone", "i2"]) == 1
    before = recommender.recommend("ann")
    assert recommender.observe_and_recommend("ann", "gone") == before
    assert recommender.unknown_items == 5
    assert stored(recommender, "ann").num_events == 2
    assert recommender.user("bob") is None


def test_unknown_items_are_errors_that_change_nothing(recommender_of: Callable[..., Recommender]) -> None:
    recommender = recommender_of(on_unknown_item="error")
    with pytest.raises(UnknownItemError, match="got 'gone'"):
        recommender.observe("ann", "gone")
    with pytest.raises(UnknownItemError):
        recommender.observe_many([("ann", "i1"), ("bob", "gone")])
    with pytest.raises(UnknownItemError):
        recommender.encode_history("ann", ["i1", "gone"])
    assert recommender.user("ann") is None


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", True, np.float64(2), [2]])
def test_k_is_a_whole_number_from_1(recommender_of: Callable[..., Recommender], k: Any) -> None:
    recommender = recommender_of()
    for call in (
        lambda: recommender.recommend("ann", k=k),
        lambda: recommender.observe_and_recommend("ann", "i1", k=k),
        lambda: recommender.observe_many([("ann", "i1")], recommend=k),
    ):
        with pytest.raises(ConfigError, match="expected k as a whole number of at least 1; got "):
            call()
    assert recommender.user("ann") is None


def test_exclude_seen_is_true_or_false(recommender_of: Callable[..., Recommender]) -> None:
    recommender = recommender_of()
    calls: tuple[Callable[..., object], ...] = (
        recommender.recommend,
        partial(recommender.observe_and_recommend, item="i1"),
    )
    for call in calls:
        with pytest.raises(ConfigError, match=r"expected exclude_seen to be True, False or None; got \['i3'\]"):
            call("ann", exclude_seen=["i3"])
    assert recommender.user("ann") is None


def test_without_a_k_as_many_as_there_are_come_back(twin_bundle: Callable[..., Bundle]) -> None:
    small = Recommender.load(twin_bundle(num_items=5).path)
    assert len(small.recommend("ann")) == 5
    assert len(small.recommend("ann", k=10)) == 5
    assert len(small.observe_and_recommend("ann", "i1")) == 4
    assert len(small.observe_and_recommend("ann", "i2", k=cast(Any, np.int64(99)))) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_lists_of_a_batch_are_those_of_each_user(recommender_of: Callable[..., Recommender], kind: str) -> None:
    recommender = recommender_of(kind)
    recommender.observe("old", "i7", "seven")
    long = [("long", f"i{1 + row % 9}") for row in range(12)]
    waves = [(user, f"i{row}") for row in range(1, 5) for user in ("w1", "w2", "w3", "w4") if row <= int(user[1])]
    events = [("ann", "i1"), ("bob", "i2"), ("old", "i7", "seven"), ("ann", "i3"), (7, "i4"), ("new", "gone")]
    for exclude_seen in (True, False):
        outcomes, lists = recommender.observe_many([*events, *long, *waves], recommend=4, exclude_seen=exclude_seen)
        assert [str(outcome) for outcome in outcomes[:6]] == [
            *("applied", "applied", "duplicate", "applied", "applied", "unknown item")
        ]
        assert outcomes[6:] == [Outcome.APPLIED] * 22
        assert list(lists) == ["ann", "bob", "old", "7", "new", "long", "w1", "w2", "w3", "w4"]
        again = recommender.recommend_many(list(lists), k=4, exclude_seen=exclude_seen)
        assert list(again) == list(lists)
        for user, found in lists.items():
            expected = recommender.recommend(user, k=4, exclude_seen=exclude_seen)
            for several in (found, again[user]):
                assert [entry.item_id for entry in several] == [entry.item_id for entry in expected]
                np.testing.assert_allclose([e.score for e in several], [e.score for e in expected], atol=1e-5)
    assert recommender.observe_many([], recommend=3) == ([], {})
    assert recommender.recommend_many([]) == {}
    assert list(recommender.recommend_many([7, "7", "nobody"], k=1)) == ["7", "nobody"]


def test_lists_of_a_batch_need_no_run_beside_its_own(
    recommender_of: Callable[..., Recommender], monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = recommender_of()
    backend = through_calls(recommender)
    runs: list[tuple[str, int]] = []

    def counted(name: str, call: Callable) -> Callable:
        def run(first: np.ndarray, *others: Any) -> object:
            runs.append((name, len(first)))
            return call(first, *others)

        return run

    for name in ("advance", "step", "encode", "score"):
        monkeypatch.setattr(backend, name, counted(name, getattr(backend, name)))
    recommender.observe_many([(user, "i1") for user in range(5)] + [(user, "i2") for user in range(3)], recommend=3)
    assert runs == [("advance", 3), ("step", 2), ("step", 3)]
    runs.clear()
    recommender.observe_many([("deep", f"i{row}") for row in range(1, 10)] + [("flat", "i1")], recommend=3)
    assert runs == [("step", 1), ("encode", 1), ("encode", 1), ("score", 1)]  # in two chunks
    runs.clear()
    recommender.observe_many([(user, "i3") for user in range(5)] + [(0, "i4")])
    recommender.observe("one", "i1")
    assert runs == [("advance", 5), ("advance", 1), ("advance", 1)]
    runs.clear()
    recommender.observe_and_recommend("one", "i2")
    assert runs == [("step", 1)]


def test_users_who_leave_a_bounded_store_still_get_their_own_list(twin_bundle: Callable[..., Bundle]) -> None:
    bounded, free = (Recommender.load(twin_bundle().path, store=store) for store in ("memory:3", "memory"))
    events = [(user, f"i{1 + (user + turn) % 30}") for turn in range(2) for user in range(20)]
    outcomes, lists = bounded.observe_many(events, recommend=5)
    assert outcomes == [Outcome.APPLIED] * 40
    assert lists == free.observe_many(events, recommend=5)[1]
    assert sorted(bounded.store.users()) == ["17", "18", "19"]


def test_all_that_was_seen_is_excluded_whatever_its_number(twin_bundle: Callable[..., Bundle]) -> None:
    recommender = Recommender.load(twin_bundle(num_items=1500).path)
    seen = [f"i{row}" for row in range(1, 1401)]
    recommender.observe_many([("slow", item) for item in seen[:700]])
    recommender.encode_history("slow", seen[700:])
    recommender.encode_history("few", seen[:3])
    assert len(stored(recommender, "slow").seen) == 1400
    for found in (
        recommender.recommend("slow", k=12),
        recommender.observe_and_recommend("slow", "i1", k=12),
        *recommender.observe_many([("few", "i1"), ("slow", "i2")], recommend=12)[1].values(),
    ):
        assert len(found) == 12
    assert all(int(entry.item_id[1:]) > 1400 for entry in recommender.recommend("slow", k=12))
    assert all(int(e.item_id[1:]) > 1400 for e in recommender.observe_and_recommend("slow", "i1", k=12))
    _, lists = recommender.observe_many([("few", "i1"), ("slow", "i2")], recommend=12)
    assert all(int(entry.item_id[1:]) > 1400 for entry in lists["slow"])
    assert not {entry.item_id for entry in lists["few"]} & {"i1", "i2", "i3"}
    recommender.encode_history("slow", [f"i{row}" for row in range(1401, 1499)])
    assert sorted(rows_of(recommender, "slow", k=12)) == [1499, 1500]


def test_exhausted_slots_are_dropped(twin_bundle: Callable[..., Bundle]) -> None:
    recommender = Recommender.load(twin_bundle(num_items=5).path)
    for row in (1, 2, 3):
        recommender.observe("ann", f"i{row}")
    assert sorted(rows_of(recommender, "ann", k=5)) == [4, 5]
    assert sorted(rows_of(recommender, "ann", k=5, exclude_seen=False)) == [1, 2, 3, 4, 5]


def test_a_forgotten_user_starts_anew_and_leaves_others_alone(
    recommender_of: Callable[..., Recommender], twin_of: Callable
) -> None:
    recommender = recommender_of()
    recommender.observe_many([("ann", "i1", "a"), ("bob", "i2", "b"), ("ann", "i3", "c")])
    assert recommender.forget("ann")
    assert not recommender.forget("ann")
    assert rows_of(recommender, "ann", k=1) == [30]
    assert recommender.observe("cat", "i5", "a") is Outcome.APPLIED
    assert_stands_at(recommender, twin_of(), "cat", [5])
    assert_stands_at(recommender, twin_of(), "bob", [2])


def test_many_users_grow_the_store_without_moving_anyone(
    recommender_of: Callable[..., Recommender], twin_of: Callable
) -> None:
    recommender = recommender_of()
    events = [(f"user {index}", f"i{1 + (7 * index + turn) % 30}") for turn in range(3) for index in range(300)]
    recommender.observe_many(events)
    for index in (0, 63, 64, 255, 256, 299):
        assert_stands_at(recommender, twin_of(), f"user {index}", [1 + (7 * index + turn) % 30 for turn in range(3)])


def test_a_record_is_a_copy(recommender_of: Callable[..., Recommender]) -> None:
    recommender = recommender_of()
    recommender.observe("ann", "i1")
    before = stored(recommender, "ann")
    recommender.observe("ann", "i2")
    after = stored(recommender, "ann")
    assert not np.array_equal(before.user_vector, after.user_vector)
    assert not np.array_equal(before.state["0.hidden"], after.state["0.hidden"])


def test_threads_wait_for_each_other(
    recommender_of: Callable[..., Recommender], monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = recommender_of()
    backend = through_calls(recommender)
    inside, most = 0, 0
    for name in ("advance", "step", "encode", "score"):
        call = getattr(backend, name)

        def slow(*arguments: object, call: Callable = call) -> object:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            time.sleep(0.002)
            inside -= 1
            return call(*arguments)

        monkeypatch.setattr(backend, name, slow)
    calls = [
        lambda: recommender.observe("ann", "i1"),
        lambda: recommender.observe_and_recommend("bob", "i2"),
        lambda: recommender.recommend("cat"),
        lambda: recommender.observe_many([("dan", "i1"), ("eve", "i2")]),
        lambda: recommender.encode_history("fay", ["i1", "i2"]),
    ]
    recommender.observe("cat", "i3")
    for call in calls:
        most = 0
        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "none"}, r"expected one of the backends .*onnxruntime.*; got 'none'"),
        ({"device": "tpu"}, "expected device 'cpu' or 'cuda'; got 'tpu'"),
        ({"on_unknown_item": "guess"}, "got 'guess'"),
        ({"colour": "red"}, r"expected options of the backend onnxruntime \(threads, device\); got 'colour'"),
        ({"threads": -1}, "expected threads from 0 to 1024; got -1"),
        ({"store": "none"}, r"expected one of the stores .*memory.*; got 'none'"),
        ({"store": "memory:many"}, "expected memory or memory:MAX_USERS; got 'memory:many'"),
        ({"store": "file"}, "expected file:PATH; got no path"),
    ],
)
def test_unknown_options_are_named(twin_bundle: Callable[..., Bundle], options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recommender.load(twin_bundle().path, **options)


def test_load_refuses_an_edited_bundle(twin_bundle: Callable[..., Bundle], copy_of: Callable[..., Bundle]) -> None:
    folder = copy_of(twin_bundle()).path
    for path in sorted(folder.iterdir()):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(BundleError):
            Recommender.load(folder)
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    Recommender.load(folder)


@pytest.mark.parametrize(
    "odd",
    [
        {"foo": 1},
        {"bundle": 1},
        {"name": 1},
        {"threads": -1},
        {"threads": True},
        {"device": 3},
        {"backend": 3},
        {"store": 3},
    ],
    ids=repr,
)
def test_odd_options_of_load_are_one_line(twin_bundle: Callable[..., Bundle], odd: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        Recommender.load(twin_bundle().path, **odd)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", [3, None, b"bundle"])
def test_a_path_that_is_none_is_one_line(path: Any) -> None:
    with pytest.raises(ConfigError, match="expected a bundle's folder"):
        Recommender.load(path)
