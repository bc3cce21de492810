"""What a store must show that keeps its records beyond the process, besides the contract of every store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deployrec.errors import ConfigError, StaleStateError, StoreError
from deployrec.runtime.durable import Database, DurableStore, History, open_database
from deployrec.runtime.events import NO_TIME
from deployrec.runtime.store_contract import LAYOUT, WINDOWED, StoreContract, assert_equal, made, observed
from deployrec.runtime.stores import ConflictError, Layout, Rows, Store, load_store

NEVER, EVER = 0.0, 4e9
"""Moments before and after every write."""


class DurableContract(StoreContract):
    """Tests over a real database at `address`."""

    def address(self, tmp_path: Path) -> str:
        """Of an empty database, the same for one folder; options may follow behind "?" or "&"."""
        raise NotImplementedError

    def open(self, layout: Layout, tmp_path: Path) -> Store:
        return load_store(self.address(tmp_path), layout)

    def with_option(self, tmp_path: Path, option: str) -> str:
        address = self.address(tmp_path)
        return f"{address}{'&' if '?' in address else '?'}{option}"

    def database(self, tmp_path: Path) -> Database:
        return open_database(self.address(tmp_path))

    def test_a_write_is_there_without_a_close(self, tmp_path: Path) -> None:
        self.open(LAYOUT, tmp_path).write(["ann", "bob"], made(LAYOUT, [1, 2]))
        assert_equal(self.open(LAYOUT, tmp_path).read(["bob", "ann"]), made(LAYOUT, [2, 1]))

    def test_layouts_lie_side_by_side(self, tmp_path: Path) -> None:
        one, other = self.open(LAYOUT, tmp_path), self.open(WINDOWED, tmp_path)
        one.write(["ann"], read(made(LAYOUT, [1]), ["i1"]))
        other.write(["ann", "bob"], made(WINDOWED, [2, 3]))
        assert_equal(one.read(["ann", "bob"]).take([0]), made(LAYOUT, [1]))
        assert_equal(other.read(["ann"]), made(WINDOWED, [2]))
        database = self.database(tmp_path)
        assert {layout.state_id for layout in database.layouts()} == {LAYOUT.state_id, WINDOWED.state_id}
        assert database.size(WINDOWED.state_id)[0] == 2
        assert database.forget(["ann", "nobody"]) == [True, False]
        assert list(one.users()) == []
        assert list(other.users()) == ["bob"]
        assert other.history(["ann"]) == [[]]

    def test_a_write_loses_to_an_event_that_another_layout_has_read_since(self, tmp_path: Path) -> None:
        one, other = self.open(LAYOUT, tmp_path), self.open(WINDOWED, tmp_path)
        one.write(["ann", "bob"], read(made(LAYOUT, [1, 2]), ["i1"], ["j1"]))
        one.read(["ann", "bob"])
        other.read(["ann"])
        other.write(["ann"], read(made(WINDOWED, [3]), ["i2"]))
        with pytest.raises(ConflictError) as lost:
            one.write(["ann", "bob"], read(made(LAYOUT, [1, 2], version=2), ["i3"], ["j2"]))
        assert lost.value.users == ["ann"]
        assert one.history(["ann", "bob"]) == [["i1", "i2"], ["j1", "j2"]]
        rows = one.read(["ann", "bob"])
        assert [list(items) for items in rows.unread] == [["i2"], []]
        rows.fixed["version"] += 1
        one.write(["ann"], read(rows.take([0]), ["i3"]))
        assert one.history(["ann"]) == [["i1", "i2", "i3"]]
        assert not one.read(["ann"]).unread

    def test_dropped_records_are_gone_and_histories_stay(self, tmp_path: Path) -> None:
        one, other = self.open(LAYOUT, tmp_path), self.open(WINDOWED, tmp_path)
        one.write(["ann"], read(made(LAYOUT, [1]), ["i1"]))
        other.write(["ann"], made(WINDOWED, [2]))
        database = self.database(tmp_path)
        assert database.drop(LAYOUT.state_id) == 1
        assert [layout.state_id for layout in database.layouts()] == [WINDOWED.state_id]
        assert other.history(["ann"]) == [["i1"]]
        assert_equal(other.read(["ann"]), made(WINDOWED, [2]))
        for call in (lambda: one.read(["ann"]), lambda: one.write(["ann"], made(LAYOUT, [1], 2))):
            with pytest.raises(StaleStateError, match="they were dropped; open the store again"):
                call()
        assert list(self.open(LAYOUT, tmp_path).users()) == []

    @pytest.mark.parametrize(("kept", "expected"), [(None, 150), (70, 70), (1, 1), (0, 0)])
    def test_as_much_of_a_history_is_kept_as_was_said(self, kept: int | None, expected: int, tmp_path: Path) -> None:
        address = self.address(tmp_path) if kept is None else self.with_option(tmp_path, f"history={kept}")
        store, items = load_store(address, LAYOUT), [f"i{number}" for number in range(150)]
        for version, (start, end) in enumerate([(0, 1), (1, 100), (100, 101), (101, 150)], start=1):
            store.write(["ann"], read(made(LAYOUT, [1], version), items[start:end]))
        assert store.history(["ann", "bob"]) == ([None, None] if kept == 0 else [items[150 - expected :], []])
        if kept is None:
            assert self.database(tmp_path).histories(["ann"])[0].total == 150

    def test_what_nobody_wrote_to_for_long_expires(self, tmp_path: Path) -> None:
        store = self.open(LAYOUT, tmp_path)
        store.write(["ann", "bob"], read(made(LAYOUT, [1, 2]), ["i1"], ["i2"]))
        database = self.database(tmp_path)
        assert database.expire(NEVER) == (0, 0)
        assert_equal(store.read(["ann", "bob"]), made(LAYOUT, [1, 2]))
        assert database.expire(EVER) == (2, 2)
        assert list(store.users()) == []
        assert database.num_histories() == 0

    def test_half_of_the_state_is_rounded_and_what_it_cannot_hold_is_whole(self, tmp_path: Path) -> None:
        store = load_store(self.with_option(tmp_path, "float16=true"), LAYOUT)
        rows = made(LAYOUT, [1, 2])
        for tensor in rows.state.values():
            tensor[0] += np.float32(1 / 3)
            tensor[1] += 1e6
        exact = {name: tensor.copy() for name, tensor in rows.state.items()}
        store.write(["ann", "bob"], rows)
        whole, half = self.database(tmp_path), store.read(["ann", "bob"])
        sizes = [len(value or b"") for value in whole.get(LAYOUT.state_id, ["ann", "bob"])]
        assert sizes[1] - sizes[0] >= 2 * LAYOUT.state.floats - 40  # but for lists of different lengths
        for name, tensor in half.state.items():
            np.testing.assert_array_equal(tensor[0], exact[name][0].astype(np.float16).astype(np.float32))
            np.testing.assert_array_equal(tensor[1], exact[name][1])
        np.testing.assert_array_equal(half.user, rows.user)

    def test_readers_remember_a_bounded_number_of_users(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("deployrec.runtime.durable.MOST_TOTALS", 3)
        store = self.open(LAYOUT, tmp_path)
        assert isinstance(store, DurableStore)
        users = [f"u{n}" for n in range(10)]
        store.write(users, read(made(LAYOUT, range(10)), *[[f"i{n}"] for n in range(10)]))
        for user in users:
            store.read([user])
        assert list(store._totals) == users[-3:]
        store.write(["u0", "u9"], read(made(LAYOUT, [0, 9], version=2), ["j"], []))
        assert store.history(["u0", "u9"]) == [["i0", "j"], ["i9"]]
        assert not store.read(["u0", "u9"]).unread

    def test_histories_move_as_they_are(self, tmp_path: Path) -> None:
        self.open(LAYOUT, tmp_path)
        database, history = self.database(tmp_path), History([f"é{n}" for n in range(130)], 500, 1.5)
        database.put_histories(["ann", "nobody"], [history, History([])])
        assert database.histories(["ann", "nobody"]) == [history, History([])]
        assert [pair for users, found in database.scan_histories() for pair in zip(users, found, strict=True)] == [
            ("ann", history)
        ]

    def test_histories_keep_times(self, tmp_path: Path) -> None:
        timed = replace(LAYOUT, unit="us")
        store, database = self.open(timed, tmp_path), self.database(tmp_path)
        moments = [1_769_860_800_123_456 + n for n in range(70)]
        rows = made(timed, [1])
        rows.read = [[each for n, m in enumerate(moments) for each in observed(f"é{n}", time=m)]]
        store.write(["ann"], rows)
        rows = made(timed, [1], version=2)
        rows.read = [[*observed("untimed"), *observed("old", time=-(10**15))]]
        store.write(["ann"], rows)
        (history,) = database.histories(["ann"])
        assert history.items == [*(f"é{n}" for n in range(70)), "untimed", "old"]
        assert list(history.times) == [*(1000 * moment for moment in moments), NO_TIME, -(10**18)]
        database.put_histories(["bob"], [history])
        assert database.histories(["bob"]) == [history]
        bob = self.open(replace(WINDOWED, unit="ms"), tmp_path).read(["bob"])
        assert bob.last_time.tolist() == [-(10**12)]
        assert len(bob.unread[0]) == 72

    def test_other_bytes_are_no_record(self, tmp_path: Path) -> None:
        store, database = self.open(LAYOUT, tmp_path), self.database(tmp_path)
        store.write(["ann"], made(LAYOUT, [1]))
        (sound,) = database.get(LAYOUT.state_id, ["ann"])
        assert sound is not None
        for wrong in (sound[:-1], sound + b"\0", b"", b"\xff" * len(sound)):
            database.put(LAYOUT.state_id, ["ann"], [wrong])
            with pytest.raises(StoreError, match="expected a record of states aaaa"):
                store.read(["ann"])

    @pytest.mark.parametrize("option", ["histories=3", "history=-1", "history=x", "ttl_days=0", "float16=perhaps"])
    def test_wrong_options_are_refused(self, option: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"^expected .*; got .*; "):
            load_store(self.with_option(tmp_path, option), LAYOUT)


def read(rows: Rows, *items: list[str]) -> Rows:
    """The rows, which have read these items."""
    rows.read = [observed(*own) for own in items]
    return rows
