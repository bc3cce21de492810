"""LMDB's journal: events are on disk as events, records now and then, and whoever reads a record reads on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployrec.bundle.bundle import Bundle
from deployrec.errors import ConfigError
from deployrec.jobs.transfer import export_store, import_store
from deployrec.runtime import Outcome, Recommender
from deployrec.runtime.durable import History, open_database
from deployrec.runtime.events import NO_TIME, Observation
from deployrec.runtime.records import Stamp, headers, pack, position, told, unpack
from deployrec.runtime.store_contract import LAYOUT, assert_equal, made
from deployrec.runtime.stores import load_store
from deployrec.runtime.stores.lmdb import log
from deployrec.runtime.stores.lmdb.journal import Journal, packed, skip, unpacked
from deployrec.runtime.stores.lmdb.store import JournaledStore

EVENTS = [
    Observation(0, "ü", "é-1", b"12345678", 150, None),
    Observation(0, "i", None, b"", NO_TIME, ("kafka/é", 7)),
    Observation(0, "j", "", b"", 200, ("", 2**63 - 1)),
    Observation(0, "k", "id", b"abcdefgh", 100, ("kafka/é", 9)),
]
Open = Callable[..., Recommender]


@pytest.fixture
def bundle(twin_bundle: Callable[..., Bundle]) -> Bundle:
    return twin_bundle()


@pytest.fixture
def opened(bundle: Bundle, tmp_path: Path) -> Open:
    """Opens the same store again, as another process would: with a cache of its own."""
    return lambda options="", of=bundle: Recommender.load(of.path, store=f"lmdb:{tmp_path / 'users'}{options}")


def positions(recommender: Recommender, users: Sequence[str]) -> list[int]:
    """Events that each user's record on disk has read."""
    store: Any = recommender.store
    return [position(value) for value in store.database.get(store.layout.state_id, users)]


def logged(recommender: Recommender) -> int:
    """Values in the log."""
    environment = recommender.store.database._environment  # type: ignore[attr-defined]
    return environment.run(lambda txn: txn.stat(environment.tables[b"log"])["entries"])


def test_events_come_back_from_bytes() -> None:
    pieces = [packed(event, unit) for event, unit in zip(EVENTS, ("", "s", "ns", "ms"), strict=True)]
    body = b"".join(pieces)
    found = list(unpacked(body))
    assert [event for event, _ in found] == EVENTS
    assert [clock.unit for _, clock in found] == ["", "s", "ns", "ms"]
    for number in range(len(EVENTS) + 1):
        assert skip(body, number) == b"".join(pieces[number:])


def test_times_are_told_in_the_unit_of_who_asks() -> None:
    event = Observation(0, "i", None, b"", 1_700_000_000, None)
    late = event._replace(time=1_600_000_000_000)
    journal = Journal(1, 5, 3, 9.0, packed(event, "s") + packed(late, "ms") + packed(event._replace(time=7), ""))
    assert [one.time for one in journal.since(5, "s")] == [1_700_000_000, 1_600_000_000, NO_TIME]
    assert [one.time for one in journal.since(6, "ns")] == [1_600_000_000 * 10**9, NO_TIME]
    assert [one.time for one in journal.since(7, "")] == [7]
    assert History.of_entries(journal.entries(), 8, 9.0).times == [
        1_700_000_000 * 10**9,
        1_600_000_000 * 10**9,
        NO_TIME,
    ]


def test_a_record_is_told_of_events_and_stays_behind_them() -> None:
    for number in range(6):
        rows = made(LAYOUT, [number])
        (value,) = pack(LAYOUT, rows, [3], Stamp(1.0, 2), half=False)
        known = told(value, EVENTS, 9.0)
        headers(LAYOUT, ["ann"], [known])
        assert position(known) == 3
        found = unpack(LAYOUT, ["ann"], [known])
        rows.fixed["version"] += len(EVENTS)
        rows.fixed["last_time"] = 200  # the last event is late
        rows.event_hashes[0] += b"12345678abcdefgh"
        rows.last_event_id[0] = "id"
        rows.sequences[0] = {**rows.sequences[0], "kafka/é": 9, "": 2**63 - 1}
        assert_equal(found, rows)


def test_a_record_is_written_every_so_many_events(opened: Open) -> None:
    recommender = opened("?journal=3")
    seen = []
    for number in range(10):
        assert recommender.observe("ann", f"i{number + 1}", f"e{number}")
        seen += positions(recommender, ["ann"])
    assert seen == [1, 1, 1, 1, 5, 5, 5, 5, 9, 9]
    recommender.close()
    assert positions(opened(), ["ann"]) == [10]


@pytest.mark.parametrize("kind", ["gru", "window", "encode-only"])
def test_another_process_reads_on_and_knows_what_was_applied(
    twin_bundle: Callable[..., Bundle], kind: str, opened: Open
) -> None:
    bundle = twin_bundle(kind=kind)
    one, memory = opened(of=bundle), Recommender.load(bundle.path)
    for number in range(12):
        events: list[Any] = [
            (user, f"i{(7 * number + place) % 30 + 1}", f"{number}-{user}") for place, user in enumerate("abc")
        ]
        events += [("c", "i3", None, 5.0 + number, number, "log")]
        for recommender in (one, memory):
            assert all(recommender.observe_many(events))
        other = opened(of=bundle)
        for user in "abc":
            expected, found = memory.user(user), other.user(user)
            assert expected is not None
            assert found is not None
            assert (found.num_events, found.seen, found.last_event_id, found.last_time, found.sequences) == (
                (expected.num_events, expected.seen, expected.last_event_id, expected.last_time, expected.sequences)
            )
            np.testing.assert_allclose(found.user_vector, expected.user_vector, atol=1e-5)
        assert set(other.observe_many(events)) == {Outcome.DUPLICATE}
    assert positions(one, list("abc")) == [1, 1, 20]


def test_two_processes_take_turns(opened: Open, bundle: Bundle) -> None:
    both, memory, rng = [opened(), opened()], Recommender.load(bundle.path), np.random.default_rng(1)
    for number in range(200):
        user, item = f"u{rng.integers(5)}", f"i{rng.integers(1, 31)}"
        chosen = both[int(rng.integers(2))]
        assert chosen.observe(user, item, f"{number}")
        memory.observe(user, item, f"{number}")
        if not number % 9:
            assert not both[0].observe(user, item, f"{number}")
            assert not both[1].observe(user, item, f"{number}")
    for recommender in (*both, opened()):
        for user in memory.store.users():
            expected, found = memory.user(user), recommender.user(user)
            assert expected is not None
            assert found is not None
            assert (found.num_events, found.seen) == (expected.num_events, expected.seen)
            np.testing.assert_allclose(found.user_vector, expected.user_vector, atol=1e-5)


def test_bundles_take_turns(opened: Open, twin_bundle: Callable[..., Bundle]) -> None:
    bundles = [twin_bundle(), twin_bundle(seed=3)]
    both, rng = [opened(of=bundle) for bundle in bundles], np.random.default_rng(2)
    items = []
    for number in range(60):
        chosen, item = both[int(rng.integers(2))], f"i{rng.integers(1, 31)}"
        assert chosen.observe("ann", item, f"{number}", None, number)
        assert not both[int(rng.integers(2))].observe("ann", item, f"{number}")
        items.append(item)
    for recommender, bundle in zip(both, bundles, strict=True):
        assert recommender.store.history(["ann"]) == [items]
        record, fresh = recommender.user("ann"), Recommender.load(bundle.path)
        fresh.encode_history("ann", items)
        expected = fresh.user("ann")
        assert record is not None
        assert expected is not None
        assert (record.num_events, record.last_event_id, record.sequences) == (60, "59", {"": 59})
        np.testing.assert_allclose(record.user_vector, expected.user_vector, atol=1e-5)


def test_the_log_is_worked_off_by_turns(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "STEP", 4)
    monkeypatch.setattr(log, "STEPS", 5)
    recommender, other = opened(), opened()
    longest = 0
    for number in range(150):
        recommender.observe_many([(f"u{user}", f"i{number % 30 + 1}") for user in range(number % 7, 30, 7)])
        if not number % 10:
            other.observe("u3", "i9")
        longest = max(longest, logged(recommender))
    assert 5 < longest < 30
    tails = recommender.store.database._environment.log.tails  # type: ignore[attr-defined]
    assert len(tails) <= 30
    for user in range(30):
        expected = len(range(user % 7, 150, 7)) + 15 * (user == 3)
        assert opened().user(f"u{user}").num_events == expected  # type: ignore[union-attr]
    recommender.close()
    assert logged(other) == 0


def test_what_is_kept_of_the_log_is_an_entry_a_user(opened: Open) -> None:
    recommender = opened()
    for number in range(200):
        recommender.observe(f"u{number % 5}", "i1", f"e{number}")
    assert logged(recommender) > 100
    held = vars(recommender.store.database._environment.log)  # type: ignore[attr-defined]
    assert max(len(one) for one in held.values() if isinstance(one, Sized)) == 5


def test_who_leaves_the_cache_is_written(opened: Open) -> None:
    recommender = opened("?cache_mb=1&journal=8")
    users = [f"u{number}" for number in range(400)]
    store = recommender.store
    assert isinstance(store, JournaledStore)
    store._cache.most_bytes = 50 * store.layout.record_bytes
    for number in range(3):
        for start in range(0, 400, 40):
            assert all(recommender.observe_many([(user, f"i{number + 1}") for user in users[start : start + 40]]))
    assert len(store._cache.held) <= 130
    assert len(store._cache._slots) == len(store._cache.held)
    gone = [user for user in users if user not in store._cache.held]
    assert positions(recommender, gone) == [3] * len(gone)
    assert store.read(users).num_events.tolist() == [3] * 400


def test_a_moved_store_knows_what_was_applied(opened: Open, tmp_path: Path, bundle: Bundle) -> None:
    recommender = opened()
    for number in range(5):
        recommender.observe("ann", f"i{number + 1}", f"e{number}", None, number, "log")
    assert positions(recommender, ["ann"]) == [1]
    export_store(open_database(f"lmdb:{tmp_path / 'users'}"), tmp_path / "out")
    moved = open_database(f"lmdb:{tmp_path / 'moved'}", create=True)
    import_store(moved, tmp_path / "out")
    import_store(moved, tmp_path / "out")
    for there in (Recommender.load(bundle.path, store=moved.address), recommender):
        assert not any(there.observe("ann", "i9", f"e{number}") for number in range(5))
        assert not there.observe("ann", "i9", None, None, 4, "log")
        assert there.user("ann").num_events == 5  # type: ignore[union-attr]
        assert there.observe("ann", "i9", "e5", None, 5, "log")
    import_store(open_database(f"lmdb:{tmp_path / 'users'}"), tmp_path / "out", replace=True)
    assert recommender.user("ann").num_events == 5  # type: ignore[union-attr]
    assert recommender.observe("ann", "i9", "e5", None, 5, "log")


def test_nothing_is_left_of_a_forgotten_user(opened: Open) -> None:
    recommender, other = opened(), opened()
    for number in range(4):
        recommender.observe_many([("ann", "i17", f"secret-{number}"), ("bob", f"i{number + 1}")])
    other.user("ann")
    assert recommender.forget("ann")
    environment = recommender.store.database._environment  # type: ignore[attr-defined]

    def everything(txn: Any) -> list[bytes]:
        return [bytes(part) for table in environment.tables.values() for pair in txn.cursor(db=table) for part in pair]

    assert not any(b"secret" in part or b"ann" in part for part in environment.run(everything))
    for each in (recommender, other, opened()):
        assert each.user("ann") is None
        assert each.user("bob").num_events == 4  # type: ignore[union-attr]
    assert other.observe("ann", "i1", "secret-0")
    assert recommender.user("ann").num_events == 1  # type: ignore[union-attr]


def test_a_journal_keeps_its_user_from_expiring(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = opened()
    monkeypatch.setattr("time.time", lambda: 1e9)
    recommender.observe_many([("ann", "i1", "e1"), ("bob", "i1")])
    monkeypatch.setattr("time.time", lambda: 2e9)
    recommender.observe("ann", "i2", "e2")
    database = open_database(f"lmdb:{tmp_path / 'users'}")
    assert database.expire(1.5e9) == (1, 1)
    assert recommender.user("bob") is None
    assert recommender.user("ann").num_events == 2  # type: ignore[union-attr]
    assert database.expire(2.5e9) == (1, 1)
    assert recommender.user("ann") is None
    assert recommender.observe("ann", "i1", "e1")


def test_a_history_holds_what_a_record_lies_behind(opened: Open) -> None:
    recommender = opened("?history=2")
    for number in range(9):
        recommender.observe("ann", f"i{number + 1}")
        assert opened("?history=2").user("ann").num_events == number + 1  # type: ignore[union-attr]
    assert recommender.store.history(["ann"]) == [["i8", "i9"]]


def test_a_call_that_lost_its_answer_is_known(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = opened()
    recommender.observe_many([("ann", "i1", "a1"), ("bob", "i2", "b1")])
    store: Any = recommender.store
    monkeypatch.setattr(store._cache, "put", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        recommender.observe_many([("ann", "i3", "a2"), ("bob", "i4", "b2")])
    monkeypatch.undo()
    assert recommender.observe_many([("ann", "i3", "a2"), ("bob", "i4", "b2")]) == [Outcome.DUPLICATE] * 2
    assert store.history(["ann", "bob"]) == [["i1", "i3"], ["i2", "i4"]]
    assert json.dumps(recommender.user("ann").seen) == '["i1", "i3"]'  # type: ignore[union-attr]


def test_who_keeps_no_histories_reads_on_too(opened: Open) -> None:
    one, other = opened(), opened("?history=0")
    for number in range(3):
        assert one.observe("ann", f"i{number + 1}", f"e{number}")
    assert other.user("ann").num_events == 3  # type: ignore[union-attr]
    assert not other.observe("ann", "i9", "e2")
    assert other.observe("ann", "i9", "e3")
    for recommender in (one, other, opened()):
        assert recommender.user("ann").num_events == 4  # type: ignore[union-attr]
    assert one.observe("ann", "i5", "e4")
    assert other.user("ann").num_events == 5  # type: ignore[union-attr]


def test_without_a_journal_records_are_written_whole(opened: Open) -> None:
    for options in ("?journal=0", "?history=0"):
        recommender = opened(options)
        recommender.observe("ann", "i1")
        recommender.observe("ann", "i2")
        assert not isinstance(recommender.store, JournaledStore)
        recommender.forget("ann")
    with pytest.raises(ConfigError, match="cache_mb"):
        load_store("lmdb:nowhere?cache_mb=0", LAYOUT)
