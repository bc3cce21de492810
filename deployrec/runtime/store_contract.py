"""What every store must do, as tests: subclass `StoreContract`, say how yours is opened, and let pytest run it.

class TestMyStore(StoreContract):
    def open(self, layout, tmp_path):
        return MyStore(layout, tmp_path / "records")
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from deployrec.runtime.events import NO_TIME, Observation
from deployrec.runtime.stores.base import ConflictError, Layout, Rows, Store
from deployrec.state import StateSpec, StateTensor

SPEC = StateSpec((StateTensor("0.hidden", (3,)), StateTensor("1.conv", (2, 3))))
LAYOUT = Layout("a" * 64, num_items=50, dim=4, window=0, state=SPEC)
WINDOWED = Layout("b" * 64, num_items=50, dim=4, window=6, state=StateSpec((StateTensor("0.sum", (4,)),), 6))
STATELESS = Layout("c" * 64, num_items=50, dim=4, window=5, state=StateSpec())


class StoreContract:
    """Tests over stores of three layouts: a carried state, a window, a window without state."""

    layouts = (LAYOUT, WINDOWED, STATELESS)

    def open(self, layout: Layout, tmp_path: Path) -> Store:
        """A store in `tmp_path`: an empty one the first time; after `close`, the same one again if it is durable."""
        raise NotImplementedError

    def test_a_new_store_knows_nobody(self, tmp_path: Path) -> None:
        for store in self._stores(tmp_path):
            assert_equal(store.read(["ann", "bob"]), store.layout.zeros(2))
            assert list(store.users()) == []
            assert store.forget(["ann"]) == 0
            assert store.meta() == {}

    def test_what_was_written_is_read(self, tmp_path: Path) -> None:
        for store in self._stores(tmp_path):
            users = ["ann", "zoë\n'", "7", " "]
            written = made(store.layout, range(4))
            store.write(users, written)
            assert sorted(store.users()) == sorted(users)
            assert_equal(store.read(users), written)
            mixed = store.read(["7", "nobody", "ann"])
            assert_equal(mixed.take([0, 2]), written.take([2, 0]))
            assert_equal(mixed.take([1]), store.layout.zeros(1))
            for place, user in enumerate(users):
                assert_equal(store.read([user]), written.take([place]))

    def test_reading_makes_nobody(self, tmp_path: Path) -> None:
        for store in self._stores(tmp_path):
            store.write(["ann"], made(store.layout, [1]))
            for users in (["bob"], ["bob", "cat"], ["ann", "bob"]):
                store.read(users)
            assert list(store.users()) == ["ann"]

    def test_a_write_keeps_copies(self, tmp_path: Path) -> None:
        for store in self._stores(tmp_path):
            for users in (["ann"], ["bob", "cat"]):
                written, expected = made(store.layout, range(len(users))), made(store.layout, range(len(users)))
                store.write(users, written)
                for tensor in (written.version, written.user, written.window, *written.state.values()):
                    tensor[...] = 9
                assert_equal(store.read(users), expected)

    def test_a_record_is_replaced_whole(self, tmp_path: Path) -> None:
        for store in self._stores(tmp_path):
            store.write(["ann", "bob"], made(store.layout, [1, 2]))
            newer = made(store.layout, [5], version=2)
            store.write(["ann"], newer)
            assert_equal(store.read(["ann"]), newer)
            assert_equal(store.read(["bob"]), made(store.layout, [2]))

    def test_of_two_writes_of_one_record_the_second_loses(self, tmp_path: Path) -> None:
        for store in self._stores(tmp_path):
            store.write(["ann", "bob"], made(store.layout, [1, 2]))
            store.write(["bob"], made(store.layout, [3], version=2))
            late = made(store.layout, [7, 8, 9], version=2)
            late.version[2] = 1
            assert lost(store, ["ann", "bob", "new"], late) == ["bob"]
            assert_equal(store.read(["ann"]), late.take([0]))
            assert_equal(store.read(["bob"]), made(store.layout, [3], version=2))
            assert_equal(store.read(["new"]), late.take([2]))
            for version in (1, 2, 4):
                assert lost(store, ["bob"], made(store.layout, [6], version)) == ["bob"]
            assert lost(store, ["nobody"], made(store.layout, [6], version=2)) == ["nobody"]
            assert_equal(store.read(["nobody"]), store.layout.zeros(1))

    def test_a_forgotten_user_starts_anew(self, tmp_path: Path) -> None:
        for store in self._stores(tmp_path):
            store.write(["ann", "bob"], made(store.layout, [1, 2]))
            assert store.forget(["ann", "nobody"]) == 1
            assert_equal(store.read(["ann"]), store.layout.zeros(1))
            assert list(store.users()) == ["bob"]
            store.write(["cat", "ann"], made(store.layout, [3, 4]))
            assert_equal(store.read(["ann", "bob", "cat"]), made(store.layout, [4, 2, 3]))

    def test_many_users(self, tmp_path: Path) -> None:
        for store in self._stores(tmp_path):
            users = [f"user {number}" for number in range(300)]
            for start in range(0, 300, 7):
                numbers = range(start, min(300, start + 7))
                store.write(users[start : start + 7], made(store.layout, numbers))
            assert sorted(store.users()) == sorted(users)
            assert_equal(store.read(users[::-1]), made(store.layout, range(299, -1, -1)))

    def test_users_may_go_while_they_are_walked_through(self, tmp_path: Path) -> None:
        for store in self._stores(tmp_path):
            store.write(["ann", "bob", "cat"], made(store.layout, [1, 2, 3]))
            for user in store.users():
                store.forget([user])
            assert list(store.users()) == []

    def test_a_kept_history_is_what_was_read(self, tmp_path: Path) -> None:
        for store in self._stores(tmp_path):
            rows = made(store.layout, [1, 2])
            rows.read = [observed("i3", "four, 4"), observed("i5")]
            store.write(["ann", "bob"], rows)
            rows = made(store.layout, [1], version=2)
            rows.read = [observed("i3")]
            store.write(["ann"], rows)
            kept = store.history(["bob", "ann"])
            assert kept in ([None, None], [["i5"], ["i3", "four, 4", "i3"]])
            store.forget(["ann"])
            assert store.history(["ann"]) in ([None], [[]])

    def test_meta_is_json(self, tmp_path: Path) -> None:
        for store in self._stores(tmp_path):
            store.set_meta({"note": "ü", "list": [1, None]})
            assert store.meta() == {"note": "ü", "list": [1, None]}
            store.meta()["note"] = "other"
            assert store.meta()["note"] == "ü"
            for wrong in ({"a": object()}, {"a": float("nan")}):
                with suppress(TypeError, ValueError):
                    store.set_meta(wrong)
                    raise AssertionError(f"{wrong} was taken")
            assert store.meta()["note"] == "ü"

    def test_a_durable_store_opens_as_it_was_closed(self, tmp_path: Path) -> None:
        for number, layout in enumerate(self.layouts):
            place = tmp_path / str(number)
            place.mkdir()
            store = self.open(layout, place)
            store.write(["ann", "zoë"], made(layout, [1, 2]))
            store.write(["ann"], made(layout, [3], version=2))
            store.set_meta({"a": 1})
            store.close()
            store.close()
            again = self.open(layout, place)
            if not list(again.users()):
                continue
            found, expected = again.read(["ann", "zoë"]), made(layout, [3, 2])
            # How often a record was written may begin anew.
            found = found.take(range(2))
            found.version[...] = expected.version[...] = 1
            assert_equal(found, expected)
            assert again.meta() == {"a": 1}

    def _stores(self, tmp_path: Path) -> Sequence[Store]:
        places = [tmp_path / str(number) for number in range(len(self.layouts))]
        for place in places:
            place.mkdir()
        return [self.open(layout, place) for layout, place in zip(self.layouts, places, strict=True)]


def made(layout: Layout, numbers: Sequence[int], version: int = 1) -> Rows:
    """Records that differ in everything for different numbers."""
    rows = layout.zeros(len(numbers))
    for place, number in enumerate(numbers):
        rows.version[place], rows.num_events[place] = version, number + 1
        rows.last_time[place] = NO_TIME if number % 3 == 0 else 2**62 + number
        rows.last_event_id[place] = None if number % 2 else f"é-{number}"
        rows.seen[place] = np.arange(1, 2 + number % 40, dtype=np.int32).tobytes()
        rows.event_hashes[place] = (np.arange(number % 5, dtype=np.uint64) + np.uint64(2**64 - 9 - number)).tobytes()
        rows.sequences[place] = {"": 2**63 - 1 - number, "kafka/é": number} if number % 2 else {}
        rows.user[place] = number + 1
        rows.window[place] = number % layout.num_items
        for tensor in rows.state.values():
            tensor[place] = np.arange(tensor[place].size).reshape(tensor.shape[1:]) + number
    return rows


def observed(*items: str, time: int = NO_TIME) -> list[Observation]:
    """Events of these items."""
    return [Observation(1, item, None, b"", time, None) for item in items]


def lost(store: Store, users: Sequence[str], rows: Rows) -> list[str]:
    """Who lost the write."""
    try:
        store.write(users, rows)
    except ConflictError as error:
        return error.users
    return []


def assert_equal(found: Rows, expected: Rows) -> None:
    """Every field is the same, shapes and types included."""
    assert found.fixed.dtype == expected.fixed.dtype
    for name in expected.fixed.dtype.names or ():
        np.testing.assert_array_equal(found.fixed[name], expected.fixed[name], name)
    for name in ("seen", "event_hashes", "last_event_id"):
        assert getattr(found, name) == getattr(expected, name), name
    assert list(map(dict, found.sequences)) == list(map(dict, expected.sequences))
    assert len(found.read) == 0
