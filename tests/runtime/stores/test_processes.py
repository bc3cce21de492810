"""Two processes over the same users: no update is lost, none applied twice, and the state is that of the history."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.redis_server import RedisServer, available
from deployrec.bundle.bundle import Bundle
from deployrec.runtime import Recommender
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.reader import Reader

USERS, EVENTS, BATCH = 100, 20_000, 50
PROGRAM = """
import sys
import numpy as np
from deployrec.runtime import Recommender
bundle, address, own, users, events, batch = sys.argv[1:4] + list(map(int, sys.argv[4:]))
recommender = Recommender.load(bundle, store=address)
ids, rng = recommender.catalogue.item_ids, np.random.default_rng(int(own))
for start in range(0, events, batch):
    chosen, items = rng.integers(users, size=batch), rng.integers(1, len(ids), size=batch)
    pairs = enumerate(zip(chosen.tolist(), items.tolist()), start)
    outcomes = recommender.observe_many([(f"u{user}", ids[item], f"{own}-{n}") for n, (user, item) in pairs])
    assert all(outcomes), outcomes
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lmdb", "redis"])
def test_two_processes(kind: str, twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    if kind == "lmdb":
        serve(twin_bundle(), f"lmdb:{tmp_path / 'users'}")
        return
    if not available():
        pytest.skip("needs redis-server")
    with RedisServer(tmp_path) as server:
        serve(twin_bundle(), server.address)


def serve(bundle: Bundle, address: str) -> None:
    numbers = [str(USERS), str(EVENTS), str(BATCH)]
    commands = [[sys.executable, "-c", PROGRAM, str(bundle.path), address, own, *numbers] for own in "12"]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait() for process in processes] == [0, 0]
    recommender = Recommender.load(bundle.path, store=address)
    users = [f"u{user}" for user in range(USERS)]
    records, histories = list(map(recommender.user, users)), recommender.store.history(users)
    assert sum(record.num_events for record in records if record) == 2 * EVENTS
    places = {item: row for row, item in enumerate(bundle.catalogue().item_ids)}
    reader = Reader(bundle.manifest, load_backend("onnxruntime", bundle))
    for record, kept in zip(records, histories, strict=True):
        assert record is not None
        assert kept is not None
        assert len(kept) == record.num_events
        fresh = reader.encode([np.array([places[item] for item in kept], np.int64)])
        np.testing.assert_allclose(record.user_vector, fresh.user[0], atol=1e-5)
    recommender.close()
