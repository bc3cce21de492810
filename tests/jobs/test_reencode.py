"""A new bundle over the users of an old one: every state is that of the whole history, whoever served meanwhile."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from benchmarks.redis_server import RedisServer, available
from deployrec.bundle.bundle import Bundle
from deployrec.errors import ConfigError, DataError, DeployrecError
from deployrec.jobs.reencode import Counts, reencode
from deployrec.runtime import Outcome, Recommender
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.durable import open_database
from deployrec.runtime.reader import Reader
from deployrec.runtime.stores import Layout, load_store


@pytest.fixture
def old(twin_bundle: Callable[..., Bundle]) -> Bundle:
    return twin_bundle(seed=0)


@pytest.fixture
def new(twin_bundle: Callable[..., Bundle]) -> Bundle:
    return twin_bundle(seed=1)


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"lmdb:{tmp_path / 'users'}"


def check(bundle: Bundle, address: str, histories: dict[str, list[str]]) -> None:
    """Every user is what a fresh encode of the history is."""
    recommender = Recommender.load(bundle.path, store=address)
    reader = Reader(bundle.manifest, load_backend("onnxruntime", bundle))
    for user, items in histories.items():
        record = recommender.user(user)
        assert record is not None
        assert record.num_events == len(items)
        rows = np.array([recommender.catalogue.rows[item] for item in items], np.int64)
        window = bundle.manifest.window
        fresh = reader.encode([rows[-window:] if window else rows])
        np.testing.assert_allclose(record.user_vector, fresh.user[0], atol=1e-5)
        for name, tensor in record.state.items():
            np.testing.assert_allclose(tensor, fresh.state[name][0], rtol=1e-4, atol=1e-5)
        assert record.seen == list(dict.fromkeys(reversed(items)))[::-1]


def serve(bundle: Bundle, address: str, histories: dict[str, list[str]]) -> None:
    recommender = Recommender.load(bundle.path, store=address)
    for user, items in histories.items():
        recommender.encode_history(user, items)


def test_everybody_is_encoded_once(old: Bundle, new: Bundle, address: str) -> None:
    items = old.catalogue().item_ids[1:]
    histories = {f"u{n}": [items[(n * m) % len(items)] for m in range(1, 2 + n % 40)] for n in range(300)}
    serve(old, address, histories)
    said: list[tuple[int, int]] = []
    assert reencode(new.path, address, progress=lambda *p: said.append(p[:2])) == Counts(users=300, encoded=300)
    assert said[-1] == (300, 300)
    check(new, address, histories)
    check(old, address, histories)
    assert reencode(new.path, address) == Counts(users=300, encoded=0)
    assert len(open_database(address).layouts()) == 2


def test_a_user_is_encoded_at_the_first_touch(old: Bundle, new: Bundle, address: str) -> None:
    items = old.catalogue().item_ids[1:]
    before = Recommender.load(old.path, store=address)
    before.observe_many([("ann", items[3], "e1"), ("ann", items[4], "e2", 7.5), ("bob", items[3], None, None, 12)])
    after = Recommender.load(new.path, store=address)
    fresh = Recommender.load(new.path)
    fresh.encode_history("ann", items[3:5])
    assert after.recommend("ann", 5) == fresh.recommend("ann", 5)
    record = after.user("ann")
    assert record is not None
    assert (record.last_event_id, record.last_time) == ("e2", 7)
    assert after.observe("ann", items[9], "e1") is Outcome.DUPLICATE
    assert after.observe("bob", items[9], sequence=12) is Outcome.DUPLICATE
    assert after.observe("ann", items[9], "e3") is Outcome.APPLIED
    check(new, address, {"ann": [items[3], items[4], items[9]], "bob": [items[3]]})


@pytest.mark.parametrize("kind", ["gru", "window"])
def test_two_bundles_serve_by_turns(kind: str, twin_bundle: Callable[..., Bundle], address: str) -> None:
    bundles = [twin_bundle(kind=kind, seed=seed) for seed in (0, 1)]
    both = [Recommender.load(bundle.path, store=address) for bundle in bundles]
    items, rng = bundles[0].catalogue().item_ids[1:], random.Random(5)
    histories: dict[str, list[str]] = {"ann": [], "bob": [], "cat": []}
    known: set[tuple[str, int]] = set()
    for _ in range(300):
        serving = rng.choice(both)
        events = [
            (rng.choice(list(histories)), rng.choice(items), rng.randrange(200)) for _ in range(rng.randint(1, 3))
        ]
        for event, outcome in zip(events, serving.observe_many(events), strict=True):
            assert outcome is (Outcome.DUPLICATE if event[::2] in known else Outcome.APPLIED)
            if event[::2] not in known:
                histories[event[0]].append(event[1])
            known.add(event[::2])
    for bundle in bundles:
        check(bundle, address, histories)


def test_items_that_the_new_catalogue_lacks_are_passed_over(twin_bundle: Callable[..., Bundle], address: str) -> None:
    large, small = twin_bundle(seed=0), twin_bundle(seed=1, num_items=12)
    items = large.catalogue().item_ids[1:]
    serve(large, address, {"ann": [items[2], items[25], items[5]], "bob": [items[26]]})
    assert reencode(small.path, address) == Counts(users=2, encoded=2)
    assert reencode(small.path, address) == Counts(users=2, encoded=0)
    check(small, address, {"ann": [items[2], items[5]]})
    after = Recommender.load(small.path, store=address)
    after.observe("ann", items[7])
    check(small, address, {"ann": [items[2], items[5], items[7]]})


def test_histories_come_from_a_log_where_the_store_has_none(new: Bundle, address: str) -> None:
    items = new.catalogue().item_ids[1:]
    serve(new, address, {"ann": [items[1]]})
    events = [("ann", items[9], 1), ("bob", items[3], 5), ("bob", items[2], 4), ("cat", items[4], 2)]
    log = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    assert reencode(new.path, address, data=log) == Counts(users=3, encoded=2)
    check(new, address, {"ann": [items[1]], "bob": [items[2], items[3]], "cat": [items[4]]})


def test_lists_are_those_of_recommend(old: Bundle, new: Bundle, address: str, tmp_path: Path) -> None:
    items = old.catalogue().item_ids[1:]
    serve(old, address, {"ann": items[:28], "bob": items[3:5]})
    reencode(new.path, address, lists=tmp_path / "lists.parquet", k=4)
    table = pq.read_table(tmp_path / "lists.parquet").to_pydict()
    serving = Recommender.load(new.path, store=address)
    for user, best, scores in zip(table["user"], table["items"], table["scores"], strict=True):
        expected = serving.recommend(user, 4)
        assert best == [one.item_id for one in expected]
        np.testing.assert_allclose(scores, [one.score for one in expected], rtol=1e-5)
    assert sorted(map(len, table["items"])) == [2, 4]


def test_what_cannot_be_done_is_said_in_one_line(new: Bundle, address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a store that keeps histories"):
        reencode(new.path, f"{address}?history=0")
    with pytest.raises(ConfigError, match="expected a store such as lmdb:PATH"):
        reencode(new.path, "memory")
    with pytest.raises(ConfigError, match="expected k of at least 1"):
        reencode(new.path, address, k=0)
    with pytest.raises(DeployrecError, match="expected a bundle folder"):
        reencode(tmp_path / "none", f"lmdb:{tmp_path / 'other'}")
    with pytest.raises(DeployrecError, match="--lists"):
        reencode(new.path, f"lmdb:{tmp_path / 'other'}", lists=tmp_path / "no folder" / "x.parquet")
    assert not (tmp_path / "other").exists()
    with pytest.raises(DataError):
        reencode(new.path, address, data=pl.DataFrame({"user_id": ["a"], "item_id": [None]}))


PROGRAM = """
import sys
from deployrec.jobs.reencode import reencode
reencode(sys.argv[1], sys.argv[2], ray=sys.argv[3] or None)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ray", ["", "local"])
@pytest.mark.parametrize("kind", ["lmdb", "redis"])
def test_ten_kills_change_no_bit(
    kind: str, ray: str, bundle_of: Callable[[str], Path], real_log: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = Bundle.open(bundle_of("glintru"))
    if kind == "lmdb":
        _kill_ten_times(bundle, real_log("ml-1m"), [f"lmdb:{tmp_path / name}" for name in ("whole", "killed")], ray)
        return
    if not available():
        pytest.skip("needs redis-server")
    with RedisServer(tmp_path) as server:
        _kill_ten_times(bundle, real_log("ml-1m"), [f"{server.address}?prefix={n}" for n in ("whole", "killed")], ray)


def _kill_ten_times(bundle: Bundle, log: Path, addresses: list[str], ray: str) -> None:
    """The users of a log, whose items are named as the bundle's, encoded undisturbed and killed ten times."""
    ids = bundle.catalogue().item_ids
    frame = pl.DataFrame(_events(log, len(ids) - 1), schema=["user_id", "row"], orient="row")
    frame = frame.select("user_id", pl.col("row").replace_strict(dict(enumerate(ids))).alias("item_id"))
    for address in addresses:
        database = open_database(address, create=True)
        from deployrec.jobs.reencode import _take_histories
        from deployrec.progress import silent

        _take_histories(database, frame.with_row_index("timestamp"), silent)
        database.close()
    whole, killed = addresses
    started = time.monotonic()
    reencode(bundle.path, whole, ray=ray or None)
    took = time.monotonic() - started
    rng, left = random.Random(7), 10
    while left:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(bundle.path), killed, ray])
        try:
            process.wait(rng.uniform(0.4, 1.0) * max(took, 4))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        left -= 1
    reencode(bundle.path, killed, ray=ray or None)
    layout = Layout.of(bundle.manifest)
    stores = [load_store(address, layout) for address in addresses]
    users = sorted(stores[0].users())
    assert len(users) == frame["user_id"].n_unique()
    for start in range(0, len(users), 500):
        one, other = (store.read(users[start : start + 500]) for store in stores)
        assert one.fixed.tobytes() == other.fixed.tobytes()
        assert one.seen == other.seen


def _events(log: Path, num_items: int) -> list[tuple[str, int]]:
    from deployrec.data import load_dataset

    dataset = load_dataset(log)
    users = np.repeat(np.array(dataset.user_ids), np.diff(dataset.offsets))
    return list(zip(users.tolist(), (dataset.events % num_items + 1).tolist(), strict=True))
