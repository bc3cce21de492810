"""A time-aware bundle knows how long ago a user's last event was, whatever the way to the user's state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from deployrec.errors import ConfigError, DataError
from deployrec.runtime import Bundle, Recommender
from deployrec.runtime.lists import Recommendation
from deployrec.runtime.verify import verify
from deployrec.time_units import PER_SECOND
from tests.runtime.conftest import Twin, stored

AT = 1_769_860_800
"""2026-01-31T12:00:00Z"""
KINDS = ("gru", "window", "encode-only")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def timed(kind: str, twin_bundle: Callable[..., Bundle]) -> Recommender:
    return Recommender.load(twin_bundle(kind=kind, unit="s").path)


def check(
    kind: str, found: list[Recommendation], rows: list[int], elapsed: float, k: int = 5, seen: bool = False
) -> None:
    """The list is the twin's after these rows."""
    items, scores = Twin(kind, unit="s").top(rows, [] if seen else rows, k, elapsed)
    assert [entry.item_id for entry in found] == [f"i{row}" for row in items if row]
    np.testing.assert_allclose([entry.score for entry in found], scores[: len(found)], atol=2e-5)


def test_the_certificate_holds(kind: str, twin_bundle: Callable[..., Bundle]) -> None:
    report = verify(twin_bundle(kind=kind, unit="s").path)
    assert report.passed
    assert any(row.comparison == "onnxruntime moment" for row in report.comparisons)


@pytest.mark.parametrize("now", [AT, AT + 7, "2026-01-31T13:00:00Z", datetime(2036, 1, 1, tzinfo=UTC), AT - 100])
def test_a_request_is_answered_for_its_moment(kind: str, timed: Recommender, now: Any) -> None:
    elapsed = max(0, timed.clock.read(now) - AT)
    timed.observe_many([("ann", "i3", None, AT - 50), ("ann", "i7", None, AT), ("bob", "i7")])
    for found in (
        timed.recommend("ann", 5, now=now),
        timed.recommend_many(["bob", "ann"], 5, now=now)["ann"],
        timed.recommend_after(["i3", "i7"], 5, now=now, times=[None, AT]),
        timed.recommend_after_many([["i1"], ["i3", "i7"]], 5, now=now, times=[None, [AT - 50, AT]])[1],
    ):
        check(kind, found, [3, 7], elapsed)
    check(kind, timed.recommend("bob", 5, now=now), [7], -1)
    vector = timed.user_vector("ann", now)
    assert vector is not None
    np.testing.assert_allclose(vector, Twin(kind, unit="s").asked([3, 7], elapsed), atol=1e-5)
    scores = timed.score_items("ann", ["i1", "i2"], now)
    np.testing.assert_allclose(scores, Twin(kind).weights["table"][1:3] @ vector, atol=1e-5)
    some = timed.recommend("ann", 5, only=["i1", "i2", "i3"], now=now)
    assert [entry.score for entry in some] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)
    np.testing.assert_allclose(stored(timed, "ann").user_vector, Twin(kind).read([3, 7])[0], atol=1e-5)


def test_a_list_with_its_event_is_right_after_it_or_for_its_moment(kind: str, timed: Recommender) -> None:
    check(kind, timed.observe_and_recommend("ann", "i3", time=AT, k=5), [3], 0)
    check(kind, timed.observe_and_recommend("ann", "i7", time=AT, k=5, now=AT + 9), [3, 7], 9)
    check(kind, timed.observe_and_recommend("ann", "i8", k=5), [3, 7, 8], 0)
    check(kind, timed.observe_and_recommend("ann", "i9", k=5, now=AT), [3, 7, 8, 9], -1)
    events = [("ann", "i3", None, AT + 10), ("bob", "i5", None, AT), ("bob", "i6", None, AT + 1), ("cat", "i1")]
    _, lists = timed.observe_many(events, recommend=4)
    check(kind, lists["ann"], [3, 7, 8, 9, 3], 0, 4)
    check(kind, lists["bob"], [5, 6], 0, 4)
    _, lists = timed.observe_many([("bob", "i6", None, AT + 2), ("bob", "i7"), ("cat", "i1", None, AT)], 4, now=AT + 4)
    check(kind, lists["bob"], [5, 6, 6, 7], -1, 4)
    check(kind, lists["cat"], [1, 1], 4, 4)
    _, lists = timed.observe_many([("cat", "unknown")], 4)
    check(kind, lists["cat"], [1, 1], 0, 4)


def test_a_long_history_is_encoded_with_its_times(kind: str, timed: Recommender) -> None:
    rows = [1 + n % 29 for n in range(40)]
    times = [AT + n for n in range(39)] + [None]
    timed.encode_history("ann", [f"i{row}" for row in rows], times)
    check(kind, timed.recommend("ann", 1, now=AT + 60), rows, -1, 1)
    timed.encode_history("ann", ["i30"], [AT + 50])
    check(kind, timed.recommend("ann", 1, now=AT + 60, exclude_seen=False), [*rows, 30], 10, 1, seen=True)
    outcomes, lists = timed.observe_many(
        [("bob", f"i{row}", None, AT + n) for n, row in enumerate(rows)], 1, exclude_seen=False, now=AT + 139
    )
    assert sum(outcomes) == 40
    check(kind, lists["bob"], rows, 100, 1, seen=True)


def test_now_is_this_moment_where_it_is_not_named(kind: str, timed: Recommender) -> None:
    timed.observe("ann", "i3", time=timed.clock.now() - 10**6)
    scores = [entry.score for entry in timed.recommend("ann", 5)]
    expected = [entry.score for entry in timed.recommend("ann", 5, now=timed.clock.now())]
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    check(kind, timed.recommend_after(["i3"], 5), [3], -1)


def test_late_events_are_counted_and_leave_the_last_time(timed: Recommender) -> None:
    assert timed.late_events == 0
    timed.observe("ann", "i1", time=AT)
    timed.observe("ann", "i2", time=AT)  # a tie is not late
    timed.observe("ann", "i3", time=AT - 1)
    assert (timed.late_events, stored(timed, "ann").last_time) == (1, AT)
    timed.observe("ann", "i3")
    assert stored(timed, "ann").last_time is None
    timed.observe_many([("ann", "i4", None, AT - 9), ("bob", "i1", None, AT), ("bob", "i1", None, AT - 1)])
    assert (timed.late_events, stored(timed, "ann").last_time, stored(timed, "bob").last_time) == (2, AT - 9, AT)
    timed.observe_many([("bob", "i1", "e", AT - 1), ("ann", "i1", None, AT - 10)])
    timed.observe_many([("bob", "i1", "e", AT - 1)])  # a duplicate is none
    assert timed.late_events == 4


def events(number: int, seed: int = 0) -> list[tuple[Any, ...]]:
    """Events of two users: ties, late ones, gaps of years, some without a time."""
    draw = np.random.default_rng(seed)
    times = AT + np.cumsum(draw.choice([0, 0, 1, 3600, -5, 10**8], number))
    untimed = draw.random(number) < 0.1
    return [
        (f"u{draw.integers(2)}", f"i{draw.integers(1, 31)}", f"e{n}", None if untimed[n] else int(times[n]))
        for n in range(number)
    ]


def known(recommender: Recommender, now: int) -> list[Any]:
    """Everything that must not depend on how events came."""
    return [(stored(recommender, user).last_time, recommender.recommend(user, 3, now=now)) for user in ("u0", "u1")]


def alike(found: list[Any], expected: list[Any]) -> None:
    for (last, items), (last_time, others) in zip(found, expected, strict=True):
        assert last == last_time
        np.testing.assert_allclose([each.score for each in items], [each.score for each in others], atol=1e-4)


@pytest.mark.parametrize("store", ["lmdb:{}", "file:{}/states", "records:{}/records"])
def test_splits_batches_and_restarts_keep_the_last_time(
    store: str, kind: str, twin_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    path, read = twin_bundle(kind=kind, unit="s").path, events(60)
    now = max(event[3] or 0 for event in read) + 100
    whole = Recommender.load(path)
    for user, item, event_id, time in read:
        whole.observe(user, item, event_id, time)
    for split in (1, 17, 59):
        address = store.format(tmp_path / str(split))
        (tmp_path / str(split)).mkdir()
        with Recommender.load(path, store=address) as first:
            first.observe_many(read[:split])
        with Recommender.load(path, store=address) as second:
            second.observe_many(read[:split])  # delivered again
            second.observe_many(read[split:])
            assert first.late_events + second.late_events == whole.late_events > 0
        with Recommender.load(path, store=address) as third:
            alike(known(third, now), known(whole, now))
            third.save_states(tmp_path / f"{split}.npz")
    again = Recommender.load(path)
    again.load_states(tmp_path / "17.npz")
    alike(known(again, now), known(whole, now))


@pytest.mark.parametrize("backend", ["native", "tensorrt"])
def test_backends_that_know_nothing_of_time_refuse_it(backend: str, twin_bundle: Callable[..., Bundle]) -> None:
    with pytest.raises(ConfigError, match=r"^expected a bundle that is not time-aware for the backend") as error:
        Recommender.load(twin_bundle(unit="s").path, backend=backend)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("old", "new"), [("s", "ms"), ("ns", "s"), ("", "s"), ("s", "")])
def test_the_next_bundle_takes_over_last_times_in_its_own_unit(
    old: str, new: str, twin_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    address = f"lmdb:{tmp_path / 'users'}"
    with Recommender.load(twin_bundle(unit=old).path, store=address) as before:
        before.observe("ann", "i3", time="2026-01-31T12:00:00.5Z")
        before.observe("bob", "i3", time="2026-01-31T12:00:00.5Z")
        before.observe("bob", "i3")
        before.save_states(tmp_path / "states.npz")
    bundle = twin_bundle(unit=new, seed=1)
    from_file = Recommender.load(bundle.path)
    from_file.load_states(tmp_path / "states.npz", history=lambda user: ["i3"])
    with Recommender.load(bundle.path, store=address) as after:
        for recommender in (after, from_file):
            seconds = AT + 0.5 * (old != "s")
            assert stored(recommender, "ann").last_time == int(seconds * PER_SECOND[new or "ns"])
            assert stored(recommender, "bob").last_time is None
        assert after.user_vector("ann", "2026-01-31T12:00:10Z") is not None


def test_another_bundles_event_without_a_time_makes_the_last_time_unknown(
    twin_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    address = f"lmdb:{tmp_path / 'users'}?journal=0"
    with (
        Recommender.load(twin_bundle().path, store=address) as one,
        Recommender.load(twin_bundle(seed=1).path, store=address) as other,
    ):
        one.observe("ann", "i3", time=5)
        assert stored(one, "ann").last_time == 5
        other.observe("ann", "i4")
        other.store.database.drop(other.store.layout.state_id)  # type: ignore[attr-defined]  # its history alone is left
        assert stored(one, "ann").last_time is None


@pytest.mark.parametrize("given", [AT, AT * 1000, float(AT), "2026-01-31T12:00:00Z"])
def test_times_that_a_timeless_bundle_was_told_serve_the_time_aware_one(
    given: Any, twin_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    address = f"lmdb:{tmp_path / 'users'}"
    with Recommender.load(twin_bundle().path, store=address) as before:
        before.observe("ann", "i3", time=given)
        before.observe("bob", "i3", time=12)  # no Unix time of any unit
    with Recommender.load(twin_bundle(unit="ms").path, store=address) as after:
        assert stored(after, "ann").last_time == AT * 1000
        assert stored(after, "bob").last_time is None


@pytest.mark.parametrize("unit", list(PER_SECOND))
def test_elapsed_is_exact_in_every_unit(unit: str, twin_bundle: Callable[..., Bundle]) -> None:
    timed, count = Recommender.load(twin_bundle(unit=unit).path), PER_SECOND[unit]
    timed.observe("ann", "i3", time=AT * count)
    for ticks in (0, 1, 999, 10 * count):
        items, scores = Twin(unit=unit).top([3], [3], 5, float(np.float32(ticks / count)))
        found = timed.recommend("ann", 5, now=AT * count + ticks)
        assert [entry.item_id for entry in found] == [f"i{row}" for row in items]
        np.testing.assert_allclose([entry.score for entry in found], scores, atol=2e-5)


@pytest.mark.parametrize("now", ["yesterday", AT * 1000, float("nan"), True, 2**64])
def test_what_is_no_moment_is_refused(timed: Recommender, now: Any) -> None:
    for call in (
        lambda: timed.recommend("ann", now=now),
        lambda: timed.recommend_many(["ann"], now=now),
        lambda: timed.recommend_after(["i1"], now=now),
        lambda: timed.recommend_after(["i1"], times=[now]),
        lambda: timed.score_items("ann", ["i1"], now),
        lambda: timed.user_vector("ann", now),
        lambda: timed.observe_and_recommend("ann", "i1", now=now),
        lambda: timed.observe_many([("ann", "i1")], recommend=3, now=now),
        lambda: cast(Any, timed).observe_many([("ann", "i1")], now=now),
        lambda: timed.encode_history("ann", ["i1"], [now]),
    ):
        with pytest.raises(DataError, match=r"^expected a time .*; got .*; ") as error:
            call()
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"^expected a time, or None, for each of 2; got 1; give as many$"):
        timed.encode_history("ann", ["i1", "i2"], [AT])
    assert timed.user("ann") is None


def test_a_bundle_that_is_not_time_aware_does_not_look(kind: str, twin_bundle: Callable[..., Bundle]) -> None:
    timeless = Recommender.load(twin_bundle(kind=kind).path)
    timeless.observe_many([("ann", "i3", None, AT), ("ann", "i7", None, AT + 5)])
    assert timeless.recommend("ann", 5, now=AT + 9) == timeless.recommend("ann", 5)
    with pytest.raises(DataError, match="expected a time"):
        timeless.recommend("ann", 5, now="yesterday")
