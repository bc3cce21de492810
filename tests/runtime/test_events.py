"""Whatever a caller hands over is read as meant or refused in one line, before anything is applied."""

from __future__ import annotations

import enum
import re
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployrec.errors import DataError
from deployrec.runtime import Bundle, Event, Outcome, Recommender
from deployrec.runtime.clock import Clock
from deployrec.runtime.events import id_text
from tests.runtime.conftest import stored

Color = enum.StrEnum("Color", {"RED": "red"})
NO_IDS = [
    *(None, "", True, np.True_, float("nan"), float("inf"), 10.5, 2.0**60, np.float32("nan")),
    *(b"i1", bytearray(b"i1"), "\ud800", "a\udfff", ["i1"], ("i1",), {"item": "i1"}, {"i1"}, object(), Decimal(3)),
    *(UUID(int=3), np.array([1]), np.array("i1"), np.datetime64("2026-01-01"), datetime(2026, 1, 1), pl.Series(["i1"])),
]
NO_TIMES = [
    *("", "yesterday", "1700000000.5", "31.12.2026", "2026-13-01", b"2026-01-01", True, np.False_),
    *(float("nan"), float("inf"), -np.inf, np.float32("nan"), 10**400, np.datetime64("NaT"), object(), [1.0], {1.0}),
    *(Decimal("1.5"), clock(1, 2), timedelta(1), complex(1)),
]


@pytest.fixture
def recommender(twin_bundle: Callable[..., Bundle]) -> Recommender:
    return Recommender.load(twin_bundle().path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(
            ("é", "é"),
            ("7", "7"),
            (7, "7"),
            (-3, "-3"),
            (10.0, "10"),
            (np.int32(7), "7"),
            (np.uint64(2**63), str(2**63)),
        ),
        *(
            (np.float64(10), "10"),
            (np.str_("a"), "a"),
            (Color.RED, "red"),
            ("1,2 3", "1,2 3"),
            (" ", " "),
            (10**30, str(10**30)),
        ),
    ],
)
def test_an_id_is_text_or_a_whole_number_of_any_type(value: object, text: str) -> None:
    found = id_text(value, "an item id")
    assert (found, type(found)) == (text, str)


def shown(value: object) -> str:
    """The value as a test's name, the same in every process."""
    return "a set" if isinstance(value, set) else re.sub(r" at 0x\w+", "", repr(value))


@pytest.mark.parametrize("wrong", NO_IDS, ids=shown)
@pytest.mark.parametrize("field", ["user", "item", "event_id"])
def test_anything_else_as_an_id_is_refused_and_changes_nothing(
    recommender: Recommender, field: str, wrong: Any
) -> None:
    if field == "event_id" and (wrong is None or (isinstance(wrong, str) and not wrong)):
        return  # which is no id
    event: dict[str, Any] = {"user": "ann", "item": "i1", "event_id": "e", field: wrong}
    what = {"user": "a user id", "item": "an item id", "event_id": "an event id"}[field]
    calls: list[Callable[[], object]] = [
        lambda: recommender.observe(**event),
        lambda: recommender.observe_and_recommend(**event),
        lambda: recommender.observe_many([("bob", "i2", "b"), ("ann", "i3"), event, ("cat", "i2")]),
        lambda: recommender.observe_many([("bob", "i2", "b"), tuple(event.values())], recommend=3),
        lambda: recommender.observe_many([cast(Any, list(event.values())), ("bob", "i2", "b")]),
        lambda: recommender.observe_many(Event(**e) for e in ({"user": "bob", "item": "i2"}, event)),
    ]
    if field == "item":
        calls.append(lambda: recommender.encode_history("ann", ["i1", wrong]))
    if field == "user":
        calls += [lambda: recommender.encode_history(wrong, ["i1"]), lambda: recommender.recommend(wrong)]
        calls += [lambda: recommender.user(wrong), lambda: recommender.forget(wrong)]
    for call in calls:
        with pytest.raises(DataError, match=f"expected {what} as text or a whole number; got .*; ") as error:
            call()
        assert "\n" not in str(error.value)
    assert list(recommender.store.users()) == []
    assert recommender.unknown_items == 0


@pytest.mark.parametrize("value", [3, 2**62, "1970-01-02", datetime(2026, 1, 31, 12, tzinfo=UTC), 1.7e9], ids=shown)
def test_a_time_is_handed_back_whole(recommender: Recommender, value: Any) -> None:
    recommender.observe("ann", "i1", time=value)
    recommender.observe_many([{"user": "bob", "item": "i1", "time": value}])
    assert stored(recommender, "ann").last_time == stored(recommender, "bob").last_time == Clock().read(value)


@pytest.mark.parametrize("wrong", NO_TIMES, ids=shown)
def test_any_other_time_is_refused_and_changes_nothing(recommender: Recommender, wrong: Any) -> None:
    for call in (
        lambda: recommender.observe("ann", "i1", "e", wrong),
        lambda: recommender.observe_and_recommend("ann", "i1", time=wrong),
        lambda: recommender.observe_many([("bob", "i2", "b", 1.0), ("ann", "i1", "e", wrong)]),
    ):
        with pytest.raises(DataError, match=r"expected a time .*; got .*; "):
            call()
    assert list(recommender.store.users()) == []


Row = namedtuple("Row", "Index user item")
Swapped = namedtuple("Swapped", "item user")


@pytest.mark.parametrize(
    "event",
    [
        *({"user": "ann", "item": "i1"}, OrderedDict(item="i1", user="ann"), ("ann", "i1"), ["ann", "i1", None]),
        *(Event("ann", "i1"), Event(user="ann", item="i1", time=3.0), Swapped(user="ann", item="i1")),
        {"user": "ann", "item": "i1", "event_id": "e", "time": "2026-01-01"},
        *(("ann", "i1", "e", 1.0, 5), ["ann", "i1", None, None, 5, "kafka"], Event("ann", "i1", sequence=5)),
        {"user": "ann", "item": "i1", "sequence": 5, "source": "kafka"},
    ],
    ids=shown,
)
def test_events_come_as_tuples_mappings_or_events(recommender: Recommender, event: Any) -> None:
    assert recommender.observe_many(iter([event])) == [Outcome.APPLIED]
    assert stored(recommender, "ann").seen == ["i1"]


@pytest.mark.parametrize(
    "event",
    [
        *(
            "ab",
            "ann,i1",
            b"ab",
            7,
            None,
            (),
            ("ann",),
            ("ann", "i1", "e", 1.0, 2, "s", 3),
            {"ann", "i1"},
            {"user": "ann"},
        ),
        *({"user_id": "ann", "item_id": "i1"}, {"user": "ann", "item": "i1", "itme": 3}, {"ann": "i1"}, {}),
        *(Row(0, "ann", "i1"), np.array(["ann", "i1"]), iter(["ann", "i1"])),
    ],
    ids=shown,
)
def test_what_is_no_event_is_refused_by_its_place(recommender: Recommender, event: Any) -> None:
    with pytest.raises(DataError, match=r"^events\[1\]: expected an event .*; got .*; ") as error:
        recommender.observe_many([("bob", "i2"), event])
    assert "\n" not in str(error.value)
    assert list(recommender.store.users()) == []


@pytest.mark.parametrize(
    "events",
    [{"user": "ann", "item": "i1"}, Event("ann", "i1"), "ab", b"ab", 7, None, {("ann", "i1")}],
    ids=shown,
)
def test_what_is_no_list_of_events_is_refused(recommender: Recommender, events: Any) -> None:
    with pytest.raises(DataError, match="expected a list of events; got"):
        recommender.observe_many(events)


@pytest.mark.parametrize("items", ["1062", "i1", b"i1", {"i1": 1}, {"i1", "i2"}, 7, None], ids=shown)
def test_what_is_no_list_of_items_is_refused(recommender: Recommender, items: Any) -> None:
    with pytest.raises(DataError, match=r"expected a list of item ids, oldest first; got .*; give a list such as"):
        recommender.encode_history("ann", items)
    assert recommender.user("ann") is None


def test_frames_and_arrays_hand_over_events_and_items(recommender: Recommender) -> None:
    frame = pl.DataFrame({"user": ["ann", "bob"], "item": ["i1", "i2"], "time": [datetime(2026, 1, 1)] * 2})
    assert recommender.observe_many(frame.iter_rows(named=True)) == [Outcome.APPLIED] * 2
    with pytest.raises(DataError, match=r"events\[0\]: expected an event"):
        recommender.observe_many(cast(Any, frame))
    assert recommender.encode_history("cat", frame["item"]) == 2
    assert recommender.encode_history("dan", np.array(["i1", "i2"])) == 2
    with pytest.raises(DataError):
        recommender.encode_history("eve", np.array([["i1", "i2"]]))


def test_a_batch_that_breaks_off_changes_nothing(recommender: Recommender) -> None:
    def events() -> Iterator[tuple[str, str]]:
        yield "ann", "i1"
        raise RuntimeError("the queue is gone")

    with pytest.raises(RuntimeError):
        recommender.observe_many(events())
    assert list(recommender.store.users()) == []


def test_an_outcome_is_true_where_the_event_was_applied() -> None:
    assert [bool(outcome) for outcome in Outcome] == [True, False, False]
    assert sum([Outcome.APPLIED, Outcome.DUPLICATE, Outcome.APPLIED, Outcome.UNKNOWN_ITEM]) == 2
    assert len(set(Outcome)) == 3
    assert Outcome.DUPLICATE != Outcome.UNKNOWN_ITEM
    by_value = Outcome("unknown item")  # type: ignore[call-arg]  # mypy takes the members' __new__ for the lookup's
    assert by_value is Outcome.UNKNOWN_ITEM
    assert [str(outcome) for outcome in Outcome] == ["applied", "duplicate", "unknown item"]


@given(st.text(min_size=1))
def test_every_text_that_utf8_holds_is_an_id(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(DataError):
            id_text(text, "a user id")
    else:
        assert id_text(text, "a user id") == text


@pytest.mark.parametrize(
    "sequence", [-1, 2**63, True, "5", 1.5, float("nan"), b"5", [5], np.datetime64("2026-01-01")], ids=shown
)
def test_what_is_no_sequence_is_refused_and_changes_nothing(recommender: Recommender, sequence: Any) -> None:
    for call in (
        lambda: recommender.observe("ann", "i1", sequence=sequence),
        lambda: recommender.observe_and_recommend("ann", "i1", sequence=sequence, source="s"),
        lambda: recommender.observe_many([("bob", "i2"), ("ann", "i1", None, None, sequence)]),
    ):
        with pytest.raises(DataError, match="expected a sequence as a whole number from 0 to 9223372036854775807; got"):
            call()
    assert list(recommender.store.users()) == []


def test_a_source_is_an_id_and_comes_with_a_sequence(recommender: Recommender) -> None:
    with pytest.raises(
        DataError, match=r"expected a sequence of the source 's' \(str\); got none; give both or neither"
    ):
        recommender.observe("ann", "i1", source="s")
    for wrong in ("", "\ud800", 1.5, ["s"]):
        with pytest.raises(DataError, match="expected a source as text or a whole number"):
            recommender.observe("ann", "i1", sequence=3, source=cast(Any, wrong))
    for sequence in (np.int64(3), 4.0, 2**63 - 1):
        assert recommender.observe("ann", "i1", sequence=cast(Any, sequence), source=7) is Outcome.APPLIED
    assert stored(recommender, "ann").sequences == {"7": 2**63 - 1}


def test_an_empty_event_id_is_one_that_is_missing(recommender: Recommender) -> None:
    assert [recommender.observe("ann", "i1", missing) for missing in ("", "", None, np.str_(""))] == [
        Outcome.APPLIED
    ] * 4
    assert (
        recommender.observe_many([("ann", "i1", ""), {"user": "ann", "item": "i1", "event_id": ""}])
        == [Outcome.APPLIED] * 2
    )
    assert stored(recommender, "ann").last_event_id is None
