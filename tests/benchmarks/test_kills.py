"""benchmarks/kills.py: 100 kills lose nothing and apply nothing twice, and it sees a store that does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import kills
from benchmarks.redis_server import available
from deployrec.bundle.bundle import Bundle
from deployrec.runtime.stores.lmdb.database import LmdbDatabase


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lmdb", "redis"])
def test_fifty_kills(kind: str, bundle_of: Callable[[str], Path], tmp_path: Path) -> None:
    if kind == "redis" and not available():
        pytest.skip("needs redis-server")
    (counts,) = kills.trials(Bundle.open(bundle_of("glintru")), tmp_path, [kind], kills=50, seed=2)
    print(counts)
    assert counts.sound
    assert counts.kills == 50
    assert counts.within_calls > 10
    assert counts.server_kills == (25 if kind == "redis" else 0)
    assert counts.acknowledged > 100


def test_a_store_that_loses_events_is_seen(
    bundle_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LmdbDatabase, "write", lambda *_: (set(), 0))
    (counts,) = kills.trials(Bundle.open(bundle_of("glintru")), tmp_path, ["lmdb"], kills=1, seed=2)
    assert counts.lost > 0
    assert not counts.sound
