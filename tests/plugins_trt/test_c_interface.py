"""deployrec.h: records and files that Python and C++ share, eviction, bundle swaps, refusals, the native backend."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deployrec.bundle.bundle import Bundle, seal
from deployrec.errors import ConfigError
from deployrec.runtime.backends.native import LIBRARY_VARIABLE
from deployrec.runtime.recommender import Recommender
from deployrec.runtime.stores.lmdb import database
from tests.plugins_trt.c_interface import Native, RefusedError
from tests.runtime.conftest import twin_bundle

__all__ = ["twin_bundle"]

pytestmark = pytest.mark.slow
FULL, STALE, FILE = 6, 5, 2
"""codes of deployrec.h"""


@pytest.mark.parametrize("key", ["glintru", "sasrec"])
@pytest.mark.parametrize("option", ["", "&float16=true"])
def test_a_record_of_python_continues_in_cpp_and_back(
    key: str, option: str, library: Path, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Bit for bit, through the store's own bytes: the state, the user vector, and what is known of applied events."""
    path, address = bundle_of(key), f"{tmp_path / 'lmdb'}?history=0{option}"
    store = f"lmdb:{address}"
    native = Native(library, bundle=path)
    with Recommender.load(path, store=store) as recommender:
        ids = recommender.catalogue.item_ids
        state_id = recommender.manifest.state_id
        for n in range(45):
            recommender.observe("7", ids[1 + n % 20], event_id=f"event {n}", time=2**60 + n, sequence=n, source="log")

    def stored() -> bytes:
        opened = database(address, False)
        (value,) = opened.get(state_id, ["7"])
        opened.close()
        assert value is not None
        return value

    record = stored()
    native.import_user(7, record)
    assert native.export(7) == record
    native.observe([(7, 5), (7, 30)])
    moved = native.export(7)
    assert int.from_bytes(moved[8:16], "little") == int.from_bytes(record[8:16], "little") + 1
    opened = database(address, False)
    opened.put(state_id, ["7"], [moved])
    opened.close()
    with Recommender.load(path, store=store) as recommender, Recommender.load(path) as other:
        for n in range(45):
            other.observe("7", ids[1 + n % 20], event_id=f"event {n}", time=100 + n, sequence=n, source="log")
        for item in (5, 30):
            other.observe("7", ids[item])
        assert not recommender.observe("7", ids[1], event_id="event 44", sequence=44, source="log")
        got, expected = recommender.user("7"), other.user("7")
        assert got is not None
        assert expected is not None
        assert (got.num_events, got.seen, got.sequences) == (47, expected.seen, {"log": 44})
        assert got.last_event_id is None
        assert got.last_time is None
        for name, tensor in expected.state.items():
            if option:
                np.testing.assert_allclose(got.state[name], tensor, atol=2e-3, rtol=2e-3)
            else:
                np.testing.assert_array_equal(got.state[name], tensor)


def test_a_file_of_states_goes_from_python_to_cpp_and_back(
    library: Path, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    path, file, again = bundle_of("sasrec"), tmp_path / "python.states", tmp_path / "cpp.states"
    with Recommender.load(path, store=f"records:{file}") as recommender:
        ids = recommender.catalogue.item_ids
        for user in range(-2, 6):
            recommender.observe_many([(user, item) for item in ids[1 : 2 + 12 * (user + 2)]])
    native = Native(library, bundle=path)
    native.call("restore", str(file).encode())
    assert sorted(native.users()) == list(range(-2, 6))
    native.call("save", str(again).encode())
    assert again.read_bytes() == file.read_bytes()
    native.observe([(3, 9), (40, 9)])
    native.call("save", str(again).encode())
    with Recommender.load(path, store=f"records:{again}") as after, Recommender.load(path) as other:
        other.observe_many([(3, item) for item in ids[1:62]])
        other.observe("3", ids[9])
        got, expected = after.user("3"), other.user("3")
        assert got is not None
        assert expected is not None
        assert (got.num_events, got.seen) == (expected.num_events, expected.seen)
        np.testing.assert_allclose(got.user_vector, expected.user_vector, atol=1e-5)
        assert after.user("40") is not None
    with Recommender.load(path, store=f"records:{file}") as recommender:
        recommender.observe("alice", ids[1])
    with pytest.raises(RefusedError, match=r"expected whole numbers as users in .*; got 'alice'; number") as error:
        native.call("restore", str(file).encode())
    assert error.value.code == FILE
    assert 40 in native.users()


def test_a_time_aware_bundle_is_refused(library: Path, twin_bundle: Callable[..., Bundle]) -> None:
    Native(library, bundle=twin_bundle().path)
    with pytest.raises(RefusedError, match=r"expected a bundle that is not time-aware; got .*; serve it with Python"):
        Native(library, bundle=twin_bundle(unit="s").path)


def test_the_least_recently_used_leave_where_they_may(library: Path, bundle_of: Callable[[str], Path]) -> None:
    path = bundle_of("gru4rec")
    refusing = Native(library, bundle=path, max_users=3)
    refusing.observe([(1, 1), (2, 2), (3, 3)])
    with pytest.raises(RefusedError, match="expected at most 0 new users; got 1; forget users or raise") as error:
        refusing.observe([(4, 1)])
    assert error.value.code == FULL
    assert refusing.counter("failed_calls") == 1
    native = Native(library, bundle=path, max_users=3, eviction="least_recently_used")
    native.observe([(1, 1), (2, 2), (3, 3)])
    native.recommend(2, 3)
    native.observe([(1, 5)])
    native.observe([(4, 1)])
    assert native.users() == [3, 1, 4]
    assert native.counter("evicted") == 1
    with pytest.raises(RefusedError, match="expected at most 3 new users; got 4"):
        native.observe([(user, 1) for user in range(10, 14)])
    assert native.users() == [3, 1, 4]
    short = Native(library, bundle=path, max_users=3, time_to_live="1e-9")
    short.observe([(1, 1), (1, 2)])
    short.observe([(1, 3)])
    assert short.c.deployrec_events_of(short.handle, ctypes.c_int64(1)) == 1


def test_states_go_on_under_a_bundle_of_the_same_state_id(
    library: Path, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    path, other = bundle_of("recblr"), tmp_path / "retitled"
    shutil.copytree(path, other)
    items = other / "items.csv"
    items.write_text(items.read_text().replace(Bundle.open(path).catalogue().titles[1], "Another title"))
    seal(other, {name: value for name, value in Bundle.open(path).manifest.document.items() if name != "files"})
    native = Native(library, bundle=path)
    native.observe([(1, 3), (1, 4)])
    before = native.recommend(1, 5)
    native.call("swap_bundle", native.options(bundle=other))
    assert native.recommend(1, 5) == before
    native.call("warm_up", (ctypes.c_int64 * 2)(1, 8), ctypes.c_size_t(2), ctypes.c_int64(5))
    assert native.recommend(1, 5) == before
    with pytest.raises(RefusedError, match=r"expected a bundle of states .*; got .*; load it aside") as error:
        native.call("swap_bundle", native.options(bundle=bundle_of("gru4rec")))
    assert error.value.code == STALE
    assert native.recommend(1, 5) == before


def test_edited_bundles_and_wrong_options_are_refused_in_one_line(
    library: Path, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(bundle_of("recblr"), path)
    for name in ("manifest.json", "step.onnx", "items.bin"):
        good = (path / name).read_bytes()
        for bad in (good.replace(b"1", b"2", 1), good[:-1], b""):
            (path / name).write_bytes(bad)
            with pytest.raises(RefusedError, match=r"expected .*; got .*; .*") as error:
                Native(library, bundle=path)
            assert error.value.code == FILE
        (path / name).unlink()
        with pytest.raises(RefusedError, match=f"{name}.*; got no readable file"):
            Native(library, bundle=path)
        (path / name).write_bytes(good)
    for options, line in (
        ({}, "expected Options::bundle or Options::plans; got neither"),
        ({"bundle": path, "lanes": 0}, "expected lanes and max_batch of at least 1"),
        ({"bundle": path, "size": 3}, "expected one of the options advance, .*; got 'size'; leave it out"),
        ({"bundle": path, "max_users": "many"}, "expected a value that the option max_users takes; got 'many'"),
        ({"plans": path}, "expected a build of deployrec::serving with TensorRT; got one without"),
        ({"bundle": path, "onnxruntime_library": "/absent.so"}, "expected ONNX Runtime's library; got /absent.so"),
    ):
        with pytest.raises(RefusedError, match=line):
            Native(library, **options)


@pytest.mark.parametrize("key", ["glintru", "sasrec"])
def test_the_native_backend_answers_as_onnxruntime_does(
    key: str, library: Path, bundle_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIBRARY_VARIABLE, str(library))
    path = bundle_of(key)
    native, other = (Recommender.load(path, backend=name) for name in ("native", "onnxruntime"))
    ids = native.catalogue.item_ids
    for recommender in (native, other):
        recommender.observe_many([(user, ids[1 + (7 * user + n) % 100]) for user in range(9) for n in range(user)])
        recommender.encode_history("long", ids[1:71])
    for n in range(60):
        assert native.observe_and_recommend("one", ids[n + 1]) == other.observe_and_recommend("one", ids[n + 1])
    assert native.recommend_many(range(9), k=7) == other.recommend_many(range(9), k=7)
    assert native.recommend("long") == other.recommend("long")


def test_the_native_backend_says_what_is_missing(
    library: Path, bundle_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIBRARY_VARIABLE, "/absent.so")
    with pytest.raises(ConfigError, match=r"got /absent.so: .*; build plugins_trt with -DDEPLOYREC_SHARED=ON and set"):
        Recommender.load(bundle_of("recblr"), backend="native")
    with pytest.raises(ConfigError, match="takes; got 'tpu'"):
        Recommender.load(bundle_of("recblr"), backend="native", library=library, provider="tpu")


def test_seen_items_stay_where_the_bundle_says_so(
    library: Path, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    path = shutil.copytree(bundle_of("glintru"), tmp_path / "again")
    seal(path, {**Bundle.open(path).manifest.document, "exclude_seen": False})
    kept, left = Native(library, bundle=path), Native(library, bundle=path, exclude_seen=1)
    events = [(7, row) for row in range(1, 6)]
    for native in (kept, left):
        native.observe(events)
    everything = kept.c.deployrec_num_items(kept.handle)
    rows = {row for row, _ in kept.recommend(7, everything)}
    assert rows == set(range(1, everything + 1))
    assert {row for row, _ in left.recommend(7, everything)} - {0} == rows - set(range(1, 6))
