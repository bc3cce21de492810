"""Two processes on one store: whoever loses a write reads again, and no event is lost or applied twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from deployrec.runtime import Bundle, Outcome, Recommender
from deployrec.runtime import updates as updates_module
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.stores import ConflictError, Layout, Rows
from deployrec.runtime.stores.memory import MemoryStore
from tests.runtime.conftest import stored


class Shared(MemoryStore):
    """Runs `between` after each read, as another process does that is faster."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.between: Callable[[Sequence[str]], object] | None = None

    def read(self, users: Sequence[str]) -> Rows:
        # What a remote store returns is nobody else's.
        rows = super().read(users)
        rows = rows.take(range(len(users)))
        if between := self.between:
            self.between = None
            between(users)
        return rows


@pytest.fixture(params=["gru", "window", "encode-only"])
def shared(
    request: pytest.FixtureRequest, twin_bundle: Callable[..., Bundle]
) -> tuple[Shared, Recommender, Recommender]:
    bundle = twin_bundle(kind=request.param)
    store = Shared(Layout.of(bundle.manifest))
    mine, other = (Recommender(bundle, load_backend("onnxruntime", bundle), store=store) for _ in range(2))
    return store, mine, other


def test_a_lost_write_is_read_and_applied_again(shared: tuple[Shared, Recommender, Recommender]) -> None:
    store, mine, other = shared
    mine.observe_many([("ann", "i1", "a"), ("bob", "i2", "b")])
    store.between = lambda _: other.observe("ann", "i7", "faster")
    assert mine.observe("ann", "i3", "c") is Outcome.APPLIED
    store.between = lambda _: other.observe_many([("bob", "i8", "d"), ("new", "i9")])
    assert mine.observe_many([("ann", "i4"), ("bob", "i5", "d"), ("bob", "i6"), ("new", "i2")]) == [
        *(Outcome.APPLIED, Outcome.DUPLICATE, Outcome.APPLIED, Outcome.APPLIED)
    ]
    store.between = lambda _: other.observe("cat", "i1", "same")
    assert [e.item_id for e in mine.observe_and_recommend("cat", "i1", "same")] == [
        entry.item_id for entry in mine.recommend("cat")
    ]
    store.between = lambda _: other.encode_history("ann", [f"i{row}" for row in range(10, 20)])
    assert mine.encode_history("ann", [f"i{row}" for row in range(20, 30)]) == 10
    alone = Recommender(mine.bundle, mine.backend)
    for user, items in {
        "ann": [1, 7, 3, 4, *range(10, 30)],
        "bob": [2, 8, 6],
        "new": [9, 2],
        "cat": [1],
    }.items():
        alone.encode_history(user, [f"i{row}" for row in items])
        assert stored(mine, user).num_events == len(items)
        assert stored(mine, user).seen == stored(alone, user).seen
        np.testing.assert_allclose(stored(mine, user).user_vector, stored(alone, user).user_vector, atol=1e-5)


def test_a_store_that_always_conflicts_gives_up(
    shared: tuple[Shared, Recommender, Recommender], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, mine, _ = shared
    monkeypatch.setattr(updates_module, "TRIES", 3)
    tries = 0

    def lose(users: Sequence[str], rows: Rows) -> None:
        nonlocal tries
        tries += 1
        raise ConflictError(users)

    monkeypatch.setattr(store, "write", lose)
    for call in (lambda: mine.observe("ann", "i1"), lambda: mine.observe_many([("ann", "i1"), ("bob", "i2")])):
        with pytest.raises(ConflictError, match="'ann' first"):
            call()
    assert tries == 6


def test_a_run_that_fails_leaves_its_users_as_they_were(
    shared: tuple[Shared, Recommender, Recommender], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, mine, _ = shared
    mine.observe_many([("ann", "i1"), ("bob", "i2")])
    before = {user: stored(mine, user) for user in ("ann", "bob")}
    # A model that carries its state takes bob's first step well; the others read both users in one run.
    runs = 0 if mine.manifest.window == 0 else 1

    def fail(call: Callable) -> Callable:
        def run(*arguments: object) -> object:
            nonlocal runs
            runs += 1
            if runs > 1:
                raise RuntimeError("the device is gone")
            return call(*arguments)

        return run

    for name in ("advance", "encode"):
        monkeypatch.setattr(mine.backend, name, fail(getattr(mine.backend, name)))
    with pytest.raises(RuntimeError):
        mine.observe_many([("ann", f"i{row}", f"e{row}") for row in range(1, 20)] + [("bob", "i3"), ("bob", "i4")])
    monkeypatch.undo()
    for user, record in before.items():
        assert stored(mine, user).num_events == 1
        assert stored(mine, user).seen == record.seen
        np.testing.assert_array_equal(stored(mine, user).user_vector, record.user_vector)
