"""Stored users: saved and loaded bit for bit, refused when they are another bundle's or broken."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deployrec.bundle.bundle import seal
from deployrec.errors import ConfigError, DataError, StaleStateError
from deployrec.runtime import Bundle, Outcome, Recommender
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
    assert (stored(new, "ann").last_event_id, stored(new, "ann").last_time) == ("b", 2.5)
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
    array = arrays.pop(name)
    np.savez(tmp_path / "edited.npz", **arrays, **({name: change(array)} if change else {}))
    with pytest.raises(DataError, match=f"expected '{name}'"):
        recommender.load_states(tmp_path / "edited.npz")


@pytest.mark.parametrize("users", [["ann", "ann", "bob"], ["ann", "bob"], 3])
def test_users_that_do_not_match_the_arrays_are_refused(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, users: object
) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe_many(EVENTS)
    recommender.save_states(tmp_path / "states.npz")
    with np.load(tmp_path / "states.npz") as file:
        arrays = dict(file)
    arrays["users"] = np.frombuffer(json.dumps(users).encode(), np.uint8)
    np.savez(tmp_path / "states.npz", **arrays)
    with pytest.raises(DataError, match="expected saved states"):
        recommender.load_states(tmp_path / "states.npz")


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


def test_states_that_are_not_finite_or_counts_below_zero_are_refused(
    twin_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    recommender = Recommender.load(twin_bundle().path)
    recommender.observe_many(EVENTS)
    recommender.save_states(tmp_path / "states.npz")
    with np.load(tmp_path / "states.npz") as file:
        arrays = dict(file)
    for name, value in (("user", np.inf), ("state.0.hidden", np.nan), ("num_events", -1), ("num_event_hashes", 99)):
        edited = {**arrays, name: np.full_like(arrays[name], value)}
        np.savez(tmp_path / "edited.npz", **edited)
        with pytest.raises(DataError, match="save the states again"):
            recommender.load_states(tmp_path / "edited.npz")
    assert stored(recommender, "ann").num_events == 2


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
