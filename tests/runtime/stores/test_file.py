"""Stored users: saved and loaded bit for bit, refused when they are another bundle's or broken."""

from __future__ import annotations

import json
import math
import os
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployrec.bundle.bundle import seal
from deployrec.errors import ConfigError, DataError, StaleStateError
from deployrec.files import atomic_file
from deployrec.runtime import Bundle, Outcome, Recommender
from deployrec.runtime.store_contract import LAYOUT, assert_equal, made
from deployrec.runtime.stores import blocks as blocks_module
from deployrec.runtime.stores import file as file_module
from deployrec.runtime.stores.file import FileStore, Snapshot, write_states
from tests.runtime.conftest import stored

KINDS = ["gru", "window", "encode-only"]
EVENTS = [
    ("ann", "i1", "a", 1.5),
    ("bob", "i2", None, None),
    ("ann", "i3", "b", 2.5),
    ("zoë\n'", "i9", "ü", 3.0),
]


@pytest.mark.parametrize("kind", KINDS)
def test_loaded_users_go_on_as_if_never_saved(twin_bundle: Callable[..., Bundle], tmp_path: Path, kind: str) -> None:
    kept, loaded = (Recommender.load(twin_bundle(kind=kind).path) for _ in range(2))
    kept.observe_many([*EVENTS, ("gone", "i4")])
    kept.forget("gone")
    kept.save_states(tmp_path / "states.npz")
    loaded.observe("someone else", "i1")
    loaded.load_states(tmp_path / "states.npz")
    assert len(list(loaded.store.users())) == 3
    assert loaded.user("someone else") is None
    assert loaded.user("gone") is None
    for recommender in (kept, loaded):
        assert not recommender.observe("ann", "i3", "b")
        assert sum(recommender.observe_many([("new", "i5"), *(("bob", f"i{row}") for row in range(1, 13))])) == 13
    for user in ("ann", "bob", "zoë\n'", "new"):
        before, after = stored(kept, user), stored(loaded, user)
        for name in ("num_events", "last_event_id", "last_time", "seen"):
            assert getattr(before, name) == getattr(after, name)
        np.testing.assert_array_equal(before.user_vector, after.user_vector)
        for name, tensor in before.state.items():
            np.testing.assert_array_equal(tensor, after.state[name])
        assert kept.recommend(user) == loaded.recommend(user)


def test_no_users_can_be_saved_too(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.save_states(tmp_path / "states.npz")
    recommender.load_states(tmp_path / "states.npz")
    assert recommender.observe("ann", "i1")


def test_states_of_another_bundle_are_refused_or_encoded_again(
    twin_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    old, new, reference = (Recommender.load(twin_bundle(seed=seed).path) for seed in (0, 1, 1))
    old.observe_many(EVENTS)
    old.save_states(tmp_path / "states.npz")
    new.observe("here", "i1")
    with pytest.raises(StaleStateError, match=old.manifest.state_id[:12]):
        new.load_states(tmp_path / "states.npz")
    assert stored(new, "here").num_events == 1
    histories = {"ann": ["i1", "i3"], "bob": ["i2", "unknown"], "zoë\n'": []}
    new.load_states(tmp_path / "states.npz", history=histories.__getitem__)
    assert new.user("here") is None
    assert not new.observe("ann", "i3", "b")
    assert (stored(new, "ann").last_event_id, stored(new, "ann").last_time) == ("b", 2)
    assert new.unknown_items == 1
    assert stored(new, "zoë\n'").num_events == 0
    reference.observe_many([("ann", "i1"), ("ann", "i3"), ("bob", "i2")])
    for user in ("ann", "bob"):
        np.testing.assert_allclose(stored(new, user).user_vector, stored(reference, user).user_vector, atol=1e-6)


def test_states_move_to_a_bundle_that_differs_only_in_what_they_do_not_hang_on(
    twin_bundle: Callable[..., Bundle], copy_of: Callable[..., Bundle], tmp_path: Path
) -> None:
    old = Recommender.load(twin_bundle().path)
    old.observe_many(EVENTS)
    old.save_states(tmp_path / "states.npz")
    folder = copy_of(twin_bundle()).path
    text = (folder / "items.csv").read_text()
    (folder / "items.csv").write_text(text.replace("Title 1,", "First,").replace(",drama", ",comedy"))
    seal(folder, json.loads((folder / "manifest.json").read_text()))
    new = Recommender.load(folder, store=f"file:{tmp_path / 'states.npz'}")
    assert new.manifest.bundle_id != old.manifest.bundle_id
    assert [entry.score for entry in new.recommend("ann")] == [entry.score for entry in old.recommend("ann")]
    table = bytearray((folder / "items.bin").read_bytes())
    table[-1] ^= 1
    (folder / "items.bin").write_bytes(table)
    seal(folder, json.loads((folder / "manifest.json").read_text()))
    with pytest.raises(StaleStateError):
        Recommender.load(folder, store=f"file:{tmp_path / 'states.npz'}")


def test_broken_files_are_one_line_and_change_nothing(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe_many(EVENTS)
    path = tmp_path / "states.npz"
    recommender.save_states(path)
    content = path.read_bytes()
    for broken in (b"", content[: len(content) // 2], content[:-30], b"PK" + content):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"expected saved states in .*states\.npz; got .*; name a file"):
            recommender.load_states(path)
    with pytest.raises(DataError, match="no such file"):
        recommender.load_states(tmp_path / "none.npz")
    assert stored(recommender, "ann").num_events == 2


def test_a_flipped_byte_of_any_array_is_refused(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe_many(EVENTS)
    path = tmp_path / "states.npz"
    recommender.save_states(path)
    content = path.read_bytes()
    for member in zipfile.ZipFile(path).infolist():
        # Past the local header, the name and its zip64 field: in the array itself.
        at = member.header_offset + 30 + len(member.filename) + 20 + member.file_size - 1
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(DataError):
            recommender.load_states(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("user", lambda array: array[:, :2]),
        ("state.0.conv", lambda array: array.astype(np.float64)),
        ("seen", lambda array: np.full_like(array, 31)),
        ("seen", lambda array: np.full_like(array, 0)),
        ("last_time", lambda array: array.astype(np.float64)),
        ("num_events", lambda array: np.full_like(array, -1)),
        ("user", lambda array: np.full_like(array, np.inf)),
        ("state.0.hidden", lambda array: np.full_like(array, np.nan)),
        ("event_hashes", lambda array: array.astype(">u8")),
        ("num_seen", lambda array: np.full_like(array, -1)),
        ("event_hashes", lambda array: array[1:]),
        ("num_events", None),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, name: str, change: Callable | None
) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe_many(EVENTS)
    recommender.save_states(tmp_path / "states.npz")
    with np.load(tmp_path / "states.npz") as file:
        arrays = dict(file)
    array = arrays.pop(f"0/{name}")
    np.savez(tmp_path / "edited.npz", **arrays, **({f"0/{name}": change(array)} if change else {}))
    with pytest.raises(DataError, match=f"expected .*'{name}'.*; save the states again"):
        recommender.load_states(tmp_path / "edited.npz")
    assert stored(recommender, "ann").num_events == 2


WRONG_TEXTS: dict[str, list[Any]] = {
    "0/users": [["ann", "ann", "bob"], ["ann", "bob"], 3, [1, 2, 3], {"ann": 1}, ["a", "b", "\ud800"], ["a", "b", ""]],
    "0/last_event_id": [[], [1, 2, 3], ["a", "b", ""], ["a", "b", "\ud800"]],
    "0/sequences": [
        *(
            [{}, {}],
            [{}, {}, 5],
            [{}, {}, {"a": -1}],
            [{}, {}, {"": 2**63}],
            [{}, {}, {"a": 1.5}],
            [{}, {}, {"a": True}],
        ),
        [{"\ud800": 1}] * 3,
    ],
    "states": [
        *({"state_id": "a", "meta": {}, "blocks": blocks} for blocks in (2, 10**30, "1", 1.0)),
        *({}, [], {"state_id": 7, "meta": {}, "blocks": 1}, {"state_id": "a", "meta": {"a": math.nan}, "blocks": 1}),
    ],
}
BROKEN_JSON = ["[" * 100_000 + "]" * 100_000, "[", "\udcff", ""]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, json.dumps(value)) for name, values in WRONG_TEXTS.items() for value in values),
        *(("0/users", text) for text in BROKEN_JSON),
    ],
    ids=lambda text: ascii(text[:60]),
)
def test_texts_that_nobody_wrote_are_refused(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, name: str, text: str
) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe_many(EVENTS)
    recommender.save_states(tmp_path / "states.npz")
    with np.load(tmp_path / "states.npz") as file:
        arrays = dict(file)
    arrays[name] = np.frombuffer(text.encode(errors="surrogateescape"), np.uint8)
    np.savez(tmp_path / "states.npz", **arrays)
    with pytest.raises(DataError, match=r"expected saved states in .*; got a broken file \(.*\); name a file") as error:
        recommender.load_states(tmp_path / "states.npz")
    assert "\n" not in str(error.value)
    assert stored(recommender, "ann").num_events == 2


def test_a_small_file_never_becomes_a_large_one_in_memory(tmp_path: Path) -> None:
    def archive(path: Path, compression: int, header_says: int, held: int) -> Path:
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({header_says},), }}".ljust(117) + "\n"
        with zipfile.ZipFile(path, "w", compression) as file:
            file.writestr(
                "states.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode() + bytes(held)
            )
        return path

    compressed = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, 2**29, 2**29)
    claiming = archive(tmp_path / "b.npz", zipfile.ZIP_STORED, 2**40, 100)
    assert compressed.stat().st_size < 1e6
    lying = archive(tmp_path / "c.npz", zipfile.ZIP_STORED, 100, 100)
    content = lying.read_bytes()
    central = content.index(b"PK\1\2")
    lying.write_bytes(content[: central + 20] + (2**31).to_bytes(4, "little") * 2 + content[central + 28 :])
    os.mkfifo(tmp_path / "d.npz")
    for path in (compressed, claiming, lying, tmp_path / "d.npz", tmp_path):
        tracemalloc.start()
        with pytest.raises(DataError, match="got a broken file"):
            Snapshot.read(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
        tracemalloc.stop()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_changed_are_one_line(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "fuzzed.npz"
    write_states(path, LAYOUT, {}, [(["ann", "bob", "cat"], made(LAYOUT, [1, 2, 3]))])
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(DataError):
        assert Snapshot.read(path).rows(LAYOUT).user.shape == (3, LAYOUT.dim)


def test_a_full_disk_leaves_the_old_file(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe_many(EVENTS)
    recommender.save_states(tmp_path / "states.npz")
    before = (tmp_path / "states.npz").read_bytes()
    recommender.observe("bob", "i5")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left"):
        recommender.save_states(tmp_path / "states.npz")
    assert (tmp_path / "states.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["states.npz"]


def test_a_file_store_goes_on_where_it_was_closed(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    address = f"file:{tmp_path / 'users.npz'}"
    reference = Recommender.load(twin_bundle(kind="window").path)
    for part in (EVENTS[:2], EVENTS[2:]):
        reference.observe_many(part)
        with Recommender.load(twin_bundle(kind="window").path, store=address) as recommender:
            assert recommender.observe_many(part) == [Outcome.APPLIED] * 2
    with Recommender.load(twin_bundle(kind="window").path, store=address) as recommender:
        assert recommender.observe("ann", "i3", "b") is Outcome.DUPLICATE
        np.testing.assert_allclose(
            stored(recommender, "ann").user_vector, stored(reference, "ann").user_vector, rtol=0, atol=1e-6
        )
    with pytest.raises(StaleStateError):
        Recommender.load(twin_bundle(kind="gru").path, store=address)
    (tmp_path / "users.npz").write_bytes(b"no states")
    with pytest.raises(DataError, match="expected saved states in"):
        Recommender.load(twin_bundle(kind="window").path, store=address)


def test_a_wrong_history_leaves_all_users(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    old, new = (Recommender.load(twin_bundle(seed=seed).path) for seed in (0, 1))
    old.observe_many(EVENTS)
    old.save_states(tmp_path / "states.npz")
    new.observe("here", "i1")
    with pytest.raises(DataError, match="expected a list of item ids"):
        new.load_states(tmp_path / "states.npz", history=lambda user: "i1" if user == "bob" else ["i1"])
    assert stored(new, "here").num_events == 1


def test_a_place_that_close_could_not_write_is_refused_at_once(
    twin_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    for path, got in ((tmp_path / "none" / "states.npz", "got none; make"), (tmp_path, "got the folder")):
        with pytest.raises(ConfigError, match=got):
            Recommender.load(twin_bundle().path, store=f"file:{path}")


def test_blocks_of_a_large_file_come_together_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "BLOCK_USERS", 7)
    users = [f"user {number}" for number in range(100)]
    store = FileStore(LAYOUT, tmp_path / "users.npz")
    store.write(users, made(LAYOUT, range(100)))
    store.close()
    with zipfile.ZipFile(tmp_path / "users.npz") as file:
        assert {name.partition("/")[0] for name in file.namelist()} == {*map(str, range(15)), "states.npy"}
    assert_equal(FileStore(LAYOUT, tmp_path / "users.npz").read(users), made(LAYOUT, range(100)))


def test_others_go_on_between_two_blocks_of_a_save(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "BLOCK_USERS", 10)
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe_many([(user, "i1") for user in range(100)])
    blocks = 0

    def add(archive: zipfile.ZipFile, name: str, array: np.ndarray, add: Callable = file_module._add) -> None:
        nonlocal blocks
        add(archive, name, array)
        if name.endswith("/users"):
            blocks += 1
            other = threading.Thread(target=recommender.observe_many, args=([(user, "i2") for user in range(100)],))
            other.start()
            other.join(timeout=10)
            assert not other.is_alive()

    with monkeypatch.context() as patch:
        patch.setattr(file_module, "_add", add)
        recommender.save_states(tmp_path / "states.npz")
    assert blocks == 10
    recommender.load_states(tmp_path / "states.npz")
    alone = Recommender.load(twin_bundle().path)
    for user in range(100):
        record = stored(recommender, str(user))
        alone.forget("again")
        alone.encode_history("again", ["i1", *["i2"] * (record.num_events - 1)])
        np.testing.assert_allclose(record.user_vector, stored(alone, "again").user_vector, atol=1e-5)
    assert {stored(recommender, str(user)).num_events for user in range(100)} == set(range(1, 11))


def test_a_saved_file_keeps_its_mode_and_a_link_its_target(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe_many(EVENTS)
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "users.npz", tmp_path / "states.npz"
    target.touch(0o600)
    target.chmod(0o600)
    link.symlink_to(target)
    recommender.save_states(link)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    recommender.load_states(link)
    assert stored(recommender, "ann").num_events == 2
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == ["users.npz"]


KILLED = """
import sys
from deployrec.files import atomic_file
with atomic_file(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("there", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_goes_with_the_next_write_and_a_living_ones_stays(tmp_path: Path) -> None:
    path = tmp_path / "states[1].npz"
    command = [sys.executable, "-c", KILLED, str(path)]
    killed, living = (subprocess.Popen(command, stdin=-1, stdout=-1) for _ in range(2))
    for process in (killed, living):
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_file(path) as file:
        file.write(b"whole")
    assert len(list(tmp_path.iterdir())) == 2
    assert path.read_bytes() == b"whole"
    living.communicate()
    assert path.read_bytes() == b"half"
    assert [left.name for left in tmp_path.iterdir()] == ["states[1].npz"]


def test_events_of_other_threads_wait_for_a_load(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    old, new = (Recommender.load(twin_bundle(seed=seed).path) for seed in (0, 1))
    old.observe_many(EVENTS)
    old.save_states(tmp_path / "states.npz")
    others = []

    def history(user: str) -> list[str]:
        others.append(threading.Thread(target=new.observe, args=(user, "i20", "meanwhile")))
        others[-1].start()
        time.sleep(0.01)
        return ["i1"]

    new.load_states(tmp_path / "states.npz", history)
    for other in others:
        other.join()
    for user in ("ann", "bob", "zoë\n'"):
        assert stored(new, user).num_events == 2
        assert stored(new, user).seen == ["i1", "i20"]


def test_where_memory_ends_a_load_leaves_all_users(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe_many([(f"saved {number}", "i1") for number in range(600)])
    recommender.save_states(tmp_path / "states.npz")
    other = Recommender.load(twin_bundle().path)
    other.observe_many(EVENTS)

    def full(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(blocks_module, "Block", full)
        with pytest.raises(MemoryError):
            other.load_states(tmp_path / "states.npz")
    assert sorted(other.store.users()) == ["ann", "bob", "zoë\n'"]
    assert stored(other, "ann").num_events == 2
    other.load_states(tmp_path / "states.npz")
    assert len(list(other.store.users())) == 600
