"""A call is applied whole or not at all, and one from within another is refused, whatever raises and whenever."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from deployrec.errors import ConfigError, DataError
from deployrec.runtime import Bundle, Outcome, Recommender
from deployrec.runtime import updates as updates_module
from deployrec.runtime.stores import Rows
from tests.runtime.conftest import stored

USERS = [f"user {number}" for number in range(40)]


@pytest.fixture(params=["gru", "window", "encode-only"])
def recommender(
    request: pytest.FixtureRequest, twin_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> Recommender:
    monkeypatch.setattr(updates_module, "BATCH", 16)
    recommender = Recommender.load(twin_bundle(kind=request.param).path)
    recommender.observe_many([(user, f"i{1 + number % 30}", "first") for number, user in enumerate(USERS)])
    return recommender


class GoneError(Exception):
    """The device, the disk or whatever is gone."""


def events(turn: int) -> list[tuple[str, str, str]]:
    """Some events of every user, of one with many."""
    few = [(user, f"i{1 + (7 * n + turn) % 30}", f"{turn}-{n}") for user in USERS for n in range(1 + turn % 3)]
    return [*few, *((USERS[3], f"i{1 + n}", f"{turn} deep {n}") for n in range(12)), ("new", "i7", f"{turn}")]


def all_of(recommender: Recommender) -> dict[str, Any]:
    found = {}
    for user in recommender.store.users():
        record = stored(recommender, user)
        tensors = (record.user_vector, *record.state.values())
        found[user] = (record.num_events, record.last_event_id, record.seen, *(tensor.tobytes() for tensor in tensors))
    return found


@pytest.mark.parametrize("with_lists", [False, True])
def test_a_backend_that_fails_at_any_run_leaves_all_users(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch, with_lists: bool
) -> None:
    before, backend = all_of(recommender), recommender._updates.backend
    runs, limit = 0, 0

    def failing(call: Callable) -> Callable:
        def run(*arguments: object) -> object:
            nonlocal runs
            runs += 1
            if runs > limit:
                raise GoneError
            return call(*arguments)

        return run

    for name in ("advance", "step", "encode", "score"):
        monkeypatch.setattr(backend, name, failing(getattr(backend, name)))
    arguments: dict[str, Any] = {"recommend": 3} if with_lists else {}
    while True:
        runs = 0
        try:
            recommender.observe_many(events(2), **arguments)
            break
        except GoneError:
            limit += 1
            assert all_of(recommender) == before
    assert limit >= 2
    assert all_of(recommender).keys() == {*before, "new"}
    assert recommender.observe_many(events(2)) == [Outcome.DUPLICATE] * len(events(2))


def test_a_store_that_fails_leaves_all_users(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = all_of(recommender), recommender.store.write

    def full(users: Sequence[str], rows: Rows) -> None:
        raise GoneError

    with monkeypatch.context() as patch:
        patch.setattr(recommender.store, "write", full)
        for call in (lambda: recommender.observe_many(events(2)), lambda: recommender.observe(USERS[0], "i3", "x")):
            with pytest.raises(GoneError):
                call()
    assert recommender.store.write == write
    assert all_of(recommender) == before
    assert recommender.observe(USERS[0], "i3", "x") is Outcome.APPLIED


def test_a_wrong_event_anywhere_leaves_all_users(recommender: Recommender) -> None:
    before = all_of(recommender)
    for wrong in (
        ("b", "i1", "\ud800"),
        ("b", "i1", "e", "no time"),
        ("b", 10.5),
        ("b", None),
        (float("nan"), "i1"),
        ("b", "i1", "e", 1.0, -1),
    ):
        for place in (0, 20, len(events(1))):
            mixed = [*events(1)[:place], wrong, *events(1)[place:]]
            with pytest.raises(DataError, match=rf"^events\[{place}\]: "):
                recommender.observe_many(mixed)
    assert all_of(recommender) == before
    assert (
        recommender.observe_many([("a", "i1", "e1", datetime.now()), ("b", "i2"), ("c", 3.0)])[:2]
        == [Outcome.APPLIED] * 2
    )


def interrupted(call: Callable[[], object], at: int) -> bool:
    """Whether the call was broken off at this line of it, as by a signal handler that raises."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        # Of the lock around the call, a signal comes before a line or after, never at its end.
        if "deployrec" not in frame.f_code.co_filename or frame.f_code.co_name == "call":
            return None
        if event == "line":
            lines += 1
            if lines == at:
                raise GoneError
        return trace

    sys.settrace(trace)
    try:
        call()
    except GoneError:
        return True
    finally:
        sys.settrace(None)
    return False


@pytest.mark.parametrize("several", [True, False])
def test_whatever_a_signal_raises_wherever_it_comes_a_call_is_whole(recommender: Recommender, several: bool) -> None:
    at, going = 0, True
    while going:
        at += 1 if at < 60 else 7
        before, name = all_of(recommender), f"signal {at}"
        named = [*USERS[:3], f"new {at}"] if several else [USERS[at % 2]]
        events = [(user, "i5", name) for user in named]
        call = partial(recommender.observe_many, events) if several else partial(recommender.observe, *events[0])
        going = interrupted(call, at)
        after = all_of(recommender)
        changed = {user for user in after if after[user] != before.get(user)}
        assert changed in (set(), set(named))
        for user in changed:
            assert after[user][0] == before.get(user, (0,))[0] + 1
            assert after[user][1] == name
        assert recommender.observe(f"after {at}", "i1") is Outcome.APPLIED
    assert at > 60


def test_a_full_store_is_whole_wherever_a_signal_comes(twin_bundle: Callable[..., Bundle]) -> None:
    recommender = Recommender.load(twin_bundle().path, store="memory:5")
    recommender.observe_many([(user, "i1") for user in range(5)])
    at, going = 0, True
    while going:
        at += 1
        new = [f"new {at} {number}" for number in range(3)]
        going = interrupted(partial(recommender.observe_many, [(user, "i2") for user in new]), at)
        found = all_of(recommender)
        assert len(found) <= 8
        assert len(found.keys() & set(new)) in (0, 3)
        assert {record[0] for record in found.values()} == {1}
        recommender.observe(f"after {at}", "i3")
        assert len(list(recommender.store.users())) == 5
    assert at > 60


def test_a_call_from_a_signal_handler_within_another_is_refused(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe("ann", "i1")
    said: list[str] = []
    calls: list[Callable[[], object]] = [
        lambda: recommender.observe("ann", "i2"),
        lambda: recommender.observe_and_recommend("ann", "i2"),
        lambda: recommender.observe_many([("ann", "i2")]),
        lambda: recommender.encode_history("ann", ["i2"]),
        lambda: recommender.recommend("ann"),
        lambda: recommender.recommend_many(["ann"]),
        lambda: recommender.user("ann"),
        lambda: recommender.forget("ann"),
        lambda: recommender.save_states(tmp_path / "states.npz"),
        lambda: recommender.load_states(tmp_path / "states.npz"),
        lambda: recommender.close(),
    ]

    def handler(*_: object) -> None:
        for call in calls:
            try:
                call()
                said.append("went through")
            except ConfigError as error:
                said.append(str(error))

    backend = recommender._updates.backend
    advance = backend.advance

    def signalled(*arguments: Any) -> object:
        signal.raise_signal(signal.SIGUSR1)
        return advance(*arguments)

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        monkeypatch.setattr(backend, "advance", signalled)
        assert recommender.observe("ann", "i3") is Outcome.APPLIED
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert len(said) == len(calls)
    for line in said:
        assert line.startswith("expected one call at a time; got ")
        assert "from within another call (a signal handler or a callback); " in line
        assert "\n" not in line
    assert stored(recommender, "ann").seen == ["i1", "i3"]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    other = threading.Thread(target=recommender.observe, args=("ann", "i4"))
    other.start()
    other.join(timeout=10)
    assert stored(recommender, "ann").num_events == 3


def test_a_history_that_asks_the_recommender_is_refused(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    old, new = (Recommender.load(twin_bundle(seed=seed).path) for seed in (0, 1))
    old.observe("ann", "i1")
    old.save_states(tmp_path / "states.npz")
    new.observe("here", "i1")

    def history(user: str) -> list[str]:
        return stored(new, user).seen

    with pytest.raises(ConfigError, match="expected one call at a time; got user from within another call"):
        new.load_states(tmp_path / "states.npz", history)
    assert np.array_equal(list(new.store.users()), ["here"])
