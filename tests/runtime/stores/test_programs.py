"""Random programs over every store, against a dictionary of histories: what a user has read is what the state holds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.redis_server import RedisServer, available
from deployrec.bundle.bundle import Bundle
from deployrec.runtime import Outcome, Recommender
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.reader import Reader
from deployrec.runtime.stores.lmdb.database import LmdbDatabase

USERS = st.sampled_from(["ann", "bob", "zoë", "4"])
ITEMS = st.integers(1, 30)
NOW = 1_769_860_800
TIMES = st.one_of(st.none(), st.sampled_from([NOW, NOW - 1, NOW - 2, NOW - 10**9, NOW + 10**9]))
EVENTS = st.tuples(USERS, ITEMS, st.one_of(st.none(), st.integers(0, 12)), TIMES)
Event = tuple[str, int, int | None, int | None]
"""User, item, event id, time."""
CALL = st.one_of(
    st.tuples(st.just("observe"), EVENTS),
    st.tuples(st.just("observe_many"), st.lists(EVENTS, max_size=14)),
    st.tuples(st.just("encode_history"), st.tuples(USERS, st.lists(ITEMS, max_size=20))),
    st.tuples(st.just("forget"), USERS),
    st.tuples(st.just("reopen"), st.none()),
)
PROGRAMS = st.lists(CALL, min_size=5, max_size=30)


class Model:
    """What each user has read, and which of their event ids are known."""

    def __init__(self) -> None:
        self.read: dict[str, list[int]] = {}
        self.ids: dict[str, set[str]] = {}
        self.last: dict[str, int | None] = {}
        self.late = 0

    def observe(self, user: str, item: int, event_id: int | None, time: int | None) -> Outcome:
        known = self.ids.setdefault(user, set())
        name = None if event_id is None else str(event_id)
        if name in known:
            return Outcome.DUPLICATE
        if name is not None:
            known.add(name)
        self.read.setdefault(user, []).append(item)
        last = self.last.get(user)
        if time is not None and last is not None and time < last:
            self.late += 1
        else:
            self.last[user] = time
        return Outcome.APPLIED


class Run:
    """A program's calls on a recommender and on the model of it."""

    def __init__(self, bundle: Bundle, address: str) -> None:
        self.bundle, self.address, self.model = bundle, address, Model()
        self.backend = load_backend("onnxruntime", bundle)
        self.ids = bundle.catalogue().item_ids
        self.late = 0
        self.open()

    def open(self) -> None:
        self.recommender = Recommender.load(self.bundle.path, store=self.address)

    def call(self, name: str, argument: object) -> None:
        getattr(self, name)(argument)

    def observe(self, event: Event) -> None:
        user, item, event_id, time = event
        outcome = self.recommender.observe(user, self.ids[item], event_id, time)
        assert outcome is self.model.observe(*event)

    def observe_many(self, events: list[Event]) -> None:
        outcomes = self.recommender.observe_many([(user, self.ids[item], *others) for user, item, *others in events])
        assert outcomes == [self.model.observe(*event) for event in events]

    def encode_history(self, argument: tuple[str, list[int]]) -> None:
        user, items = argument
        self.recommender.encode_history(user, [self.ids[item] for item in items])
        if items:
            self.model.read.setdefault(user, []).extend(items)
            self.model.last[user] = None

    def forget(self, user: str) -> None:
        assert self.recommender.forget(user) is bool(self.model.read.pop(user, None))
        self.model.ids.pop(user, None)
        self.model.last.pop(user, None)

    def reopen(self, _: None) -> None:
        if self.address != "memory":
            self.late += self.recommender.late_events
            self.recommender.close()
            self.open()

    def check(self) -> None:
        reader, store = Reader(self.bundle.manifest, self.backend), self.recommender.store
        assert sorted(store.users()) == sorted(self.model.read)
        assert self.late + self.recommender.late_events == self.model.late
        for user, items in self.model.read.items():
            record = self.recommender.user(user)
            assert record is not None
            assert record.num_events == len(items)
            distinct = list(dict.fromkeys(reversed(items)))[::-1]
            assert record.seen == [self.ids[item] for item in distinct]
            assert store.history([user])[0] in (None, [self.ids[item] for item in items])
            last = self.model.last[user]
            assert record.last_time == last
            window = self.bundle.manifest.window
            fresh = reader.encode([np.array(items[-window:] if window else items, np.int64)])
            np.testing.assert_allclose(record.user_vector, fresh.user[0], atol=1e-5)
            asked = fresh.user
            if self.bundle.manifest.time:
                elapsed = -1 if last is None else max(0, NOW - last)
                asked = self.backend.moment(asked, np.array([elapsed], np.float32))
            vector = self.recommender.user_vector(user, NOW)
            assert vector is not None
            np.testing.assert_allclose(vector, asked[0], atol=1e-4)
            for name, tensor in record.state.items():
                np.testing.assert_allclose(tensor, fresh.state[name][0], rtol=1e-4, atol=1e-5)


@pytest.fixture(params=["memory", "lmdb", pytest.param("redis", marks=pytest.mark.slow)])
def new_address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Addresses of empty stores."""
    if request.param == "memory":
        yield lambda: "memory"
    elif request.param == "lmdb":
        with tempfile.TemporaryDirectory() as folder:
            yield lambda: f"lmdb:{tempfile.mkdtemp(dir=folder)}"
    elif not available():
        pytest.skip("needs redis-server")
    else:
        with RedisServer(tmp_path) as server:
            numbers = iter(range(10**9))
            yield lambda: f"{server.address}?prefix={next(numbers)}"


@pytest.mark.parametrize(("kind", "unit"), [("gru", "s"), ("window", "")])
def test_programs(kind: str, unit: str, new_address: Callable[[], str], twin_bundle: Callable[..., Bundle]) -> None:
    bundle = twin_bundle(kind=kind, unit=unit)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(PROGRAMS)
    def programs(calls: list[tuple[str, object]]) -> None:
        run = Run(bundle, new_address())
        for name, argument in calls:
            run.call(name, argument)
        run.check()
        run.recommender.close()

    programs()


def test_a_store_that_forgets_an_event_is_caught(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(twin_bundle(), f"lmdb:{tmp_path / 'users'}")
    run.observe(("ann", 3, None, None))
    monkeypatch.setattr(LmdbDatabase, "write", lambda *_: (set(), 0))
    run.observe(("ann", 4, None, None))
    with pytest.raises(AssertionError):
        run.check()
