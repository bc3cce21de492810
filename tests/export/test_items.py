"""Added and retired items: another bundle of the same model, on which everything stored before is served on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.manifest import ITEM_TABLE, MANIFEST, RETIRED
from deployrec.data import Dataset
from deployrec.errors import BundleError, DataError, StaleStateError
from deployrec.export import export_bundle
from deployrec.export.again import torch_model
from deployrec.export.items import add_items, retire_items
from deployrec.export.tower import Tower, fit_tower
from deployrec.jobs.worker import Job, Worker
from deployrec.runtime import Recommender
from deployrec.runtime.verify import verify
from tests.runtime.conftest import stored
from tests.support import random_model

NEW = 500
USERS = ["ann", "bob", "cat"]


@pytest.fixture(scope="module")
def base(bundle_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with states in a store beside it."""
    folder = tmp_path_factory.mktemp("items")
    shutil.copytree(bundle_of("recblr"), folder / "base")
    return folder / "base"


@pytest.fixture(scope="module")
def extended(base: Path) -> Path:
    """The bundle with 500 more items: vectors given, means of neighbours, and made of columns."""
    dim = Bundle.open(base).manifest.dim
    ids = Bundle.open(base).catalogue().item_ids
    drawn = np.random.default_rng(0).normal(size=(NEW, dim)).astype(np.float32)
    frame = pl.DataFrame(
        {
            "item_id": [f"new-{n}" for n in range(NEW)],
            "title": [f"New film {n}" for n in range(NEW)],
            "genre": ["Crime Drama" if n % 2 else "Comedy" for n in range(NEW)],
            "vector": [" ".join(map(repr, row.tolist())) if n < 200 else "" for n, row in enumerate(drawn)],
            "neighbours": [f"{ids[n]}|{ids[n + 1]}" if 200 <= n < 300 else "" for n in range(NEW)],
        }
    )
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    added = add_items(base, frame, base.with_name("extended"))
    assert (added.given, added.by_neighbours, added.by_tower) == (200, 100, 200)
    assert added.fit is not None
    return base.with_name("extended")


def observed(bundle: Path, store: str) -> Recommender:
    recommender = Recommender.load(bundle, store=store)
    ids = recommender.catalogue.item_ids
    rng = np.random.default_rng(1)
    recommender.observe_many([(user, ids[row]) for row in rng.integers(1, 480, 30) for user in USERS])
    return recommender


def test_the_bundle_is_sound_and_of_the_same_states(base: Path, extended: Path) -> None:
    before, after = Bundle.open(base), Bundle.open(extended)
    assert after.manifest.num_items == before.manifest.num_items + NEW
    assert after.manifest.state_id == before.manifest.state_id
    assert after.manifest.bundle_id != before.manifest.bundle_id
    np.testing.assert_array_equal(after.item_table()[: before.manifest.num_items + 1], before.item_table())
    assert after.catalogue().item_ids[: before.manifest.num_items + 1] == before.catalogue().item_ids
    report = verify(extended)
    assert report.passed
    assert any("items that were added" in row.case for row in report.comparisons)


def test_vectors_are_those_given_the_mean_of_neighbours_or_of_the_columns(extended: Path, base: Path) -> None:
    before, bundle = Bundle.open(base), Bundle.open(extended)
    rows, table = bundle.catalogue().rows, bundle.item_table()
    drawn = np.random.default_rng(0).normal(size=(NEW, bundle.manifest.dim)).astype(np.float32)
    np.testing.assert_array_equal(table[rows["new-7"]], drawn[7])
    np.testing.assert_allclose(table[rows["new-250"]], table[250:252].mean(0), atol=1e-6)
    tower = fit_tower(before.catalogue(), before.item_table(), before.manifest.num_items)
    made = tower.vectors({"title": ["New film 401"], "genre": ["Crime Drama"]})
    np.testing.assert_allclose(table[rows["new-401"]], made[0], atol=1e-4)


@pytest.mark.parametrize("store", ["lmdb", "file"])
def test_states_made_before_are_served_unchanged(base: Path, extended: Path, tmp_path: Path, store: str) -> None:
    address = f"{store}:{tmp_path / 'users'}"
    with observed(base, address) as before:
        records = {user: stored(before, user) for user in USERS}
        lists = before.recommend_many(USERS, 20)
    old = before.catalogue.item_ids[1:]
    with Recommender.load(extended, store=address) as after:
        for user in USERS:
            record = stored(after, user)
            np.testing.assert_array_equal(record.user_vector, records[user].user_vector)
            for name, tensor in record.state.items():
                np.testing.assert_array_equal(tensor, records[user].state[name])
            assert (record.seen, record.num_events) == (records[user].seen, records[user].num_events)
            again = after.recommend(user, 20, only=old)
            assert [entry.item_id for entry in again] == [entry.item_id for entry in lists[user]]
        assert any(e.item_id.startswith("new-") for user in USERS for e in after.recommend(user, 50))
        assert after.observe("ann", "new-3")
        assert stored(after, "ann").seen[-1] == "new-3"
    with pytest.raises(StaleStateError, match="further items"):
        Recommender.load(base, store=address)
    with Recommender.load(extended, store=address) as again_after:
        assert stored(again_after, "ann").seen[-1] == "new-3"


@pytest.mark.slow  # further certificates
@pytest.mark.parametrize("key", ["recblr", "sasrec"])
def test_an_older_process_serves_on_beside_one_with_added_items(
    key: str, bundle_of: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Users have seen new items, of SASRec in the window that is read again too; their records keep them."""
    base, longer, address = bundle_of(key), tmp_path / "longer", f"lmdb:{tmp_path / 'users'}"
    ids = Bundle.open(base).catalogue().item_ids
    add_items(base, pl.DataFrame({"item_id": ["new"], "neighbours": [f"{ids[1]}|{ids[2]}"]}), longer)
    with Recommender.load(base, store=address) as before, Recommender.load(longer, store=address) as after:
        before.observe_many([(user, ids[1]) for user in USERS])
        after.observe_many([(user, item) for user in USERS for item in [*ids[2:72], "new"]])
        assert before.later_items == 0
        lists = before.recommend_many(USERS, 20)
        assert before.later_items == len(USERS)
        for user in USERS:
            best = before.observe_and_recommend(user, ids[72], k=20)
            for found in (lists[user], best):
                assert len(found) == 20
                assert not set(ids[1:72]) & {entry.item_id for entry in found}
        _, lists = before.observe_many([(user, item) for user in USERS for item in ids[73:76]], recommend=5)
        assert [len(lists[user]) for user in USERS] == [5] * len(USERS)
        assert stored(before, "ann").seen == ids[1:76]
        assert stored(after, "ann").seen == [*ids[1:72], "new", *ids[72:76]]
        assert "new" not in {entry.item_id for entry in after.recommend("ann", 1000)}
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "deployrec.runtime"]
    assert "load that bundle here too" in warning
    with pytest.raises(StaleStateError, match="further items"):
        Worker(Job(base, address))


@pytest.mark.slow  # two further certificates
def test_other_items_added_to_the_same_bundle_are_other_rows(base: Path, extended: Path, tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": ["other"], "neighbours": [Bundle.open(base).catalogue().item_ids[1]]})
    sibling = tmp_path / "sibling"
    add_items(base, frame, sibling)
    recommender = Recommender.load(extended)
    recommender.observe("ann", "new-3")
    recommender.save_states(tmp_path / "states.npz")
    with pytest.raises(StaleStateError, match="further items"):
        Recommender.load(sibling).load_states(tmp_path / "states.npz")
    further = add_items(extended, frame, tmp_path / "further").report.bundle
    assert further.manifest.state_id == Bundle.open(base).manifest.state_id
    served = Recommender.load(further.path)
    served.load_states(tmp_path / "states.npz")
    assert stored(served, "ann").seen == ["new-3"]


def test_a_table_that_does_not_begin_with_the_base_is_refused(extended: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(extended, tmp_path / "copy")
    table = np.fromfile(copy / ITEM_TABLE, np.float32)
    table[100] += 1
    table.tofile(copy / ITEM_TABLE)
    seal(copy, Bundle.open(extended).manifest.document)
    with pytest.raises(BundleError, match="to begin with the"):
        Recommender.load(copy)


@pytest.mark.slow  # two further certificates
def test_retired_items_never_come_and_are_still_history(base: Path, tmp_path: Path) -> None:
    before = observed(base, "memory")
    best = [entry.item_id for entry in before.recommend("ann", 5)]
    popular = [entry.item_id for entry in before.recommend("new", 3)]
    gone = {*best, *popular}
    out = tmp_path / "retired"
    retire_items(base, best, out)
    retire_items(out, popular)
    assert verify(out).passed
    after = observed(out, "memory")
    for user in USERS:
        np.testing.assert_array_equal(stored(after, user).user_vector, stored(before, user).user_vector)
    everything = after.manifest.num_items
    asked: list[dict[str, Any]] = [{}, {"only": [*gone, "1500"]}, {"where": "popularity >= 0"}, {"exclude": best[:1]}]
    for named in asked:
        for found in (
            *after.recommend_many(["ann", "new"], everything, exclude_seen=False, **named).values(),
            after.recommend_after(best, everything, exclude_seen=False, **named),
            after.similar_items(best[0], everything, **named),
        ):
            assert not gone & {entry.item_id for entry in found}
    assert len(after.recommend("ann", everything, exclude_seen=False)) == everything - len(gone)
    assert np.isneginf(after.score_items("ann", best)).all()
    assert after.observe("ann", best[0])
    assert Bundle.open(out).manifest.state_id == Bundle.open(base).manifest.state_id
    assert np.isneginf(torch_model(Bundle.open(out)).padding_mask.numpy()).sum() == 1 + len(gone)
    with pytest.raises(DataError, match="no such item"):
        retire_items(out, ["no such item"])
    with pytest.raises(DataError, match="all retired"):
        retire_items(out, after.catalogue.item_ids[1:])
    (out / RETIRED).write_text("item_id\nnobody\n")
    seal(out, Bundle.open(base).manifest.document)
    with pytest.raises(BundleError, match=r"retired\.csv"):
        Recommender.load(out)


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"item_id": ["x", "x"], "neighbours": ["1500", "1500"]}, "each once"),
        ({"item_id": ["x"], "colour": ["red"]}, "'colour'"),
        ({"item_id": ["x"], "vector": ["1 2"]}, "finite numbers"),
        ({"item_id": ["x"], "vector": ["a b"]}, "finite numbers"),
        ({"item_id": ["x"], "neighbours": ["nobody"]}, "'nobody'"),
        ({"title": ["x"]}, "item"),
    ],
)
def test_bad_items_are_one_line_and_leave_nothing(
    base: Path, tmp_path: Path, columns: dict[str, list[str]], error: str
) -> None:
    pl.DataFrame(columns).write_csv(tmp_path / "new.csv")
    manifest = (base / MANIFEST).read_bytes()
    with pytest.raises(DataError, match=error) as raised:
        add_items(base, tmp_path / "new.csv", tmp_path / "out")
    assert "\n" not in str(raised.value)
    known = pl.DataFrame({"item_id": [Bundle.open(base).catalogue().item_ids[1]], "neighbours": ["1500"]})
    with pytest.raises(DataError, match="does not have"):
        add_items(base, known)
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]
    assert (base / MANIFEST).read_bytes() == manifest


def test_a_tower_learns_what_columns_say() -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    from deployrec.bundle.catalogue import Catalogue

    rng = np.random.default_rng(0)
    genres = rng.integers(0, 8, 400)
    years = rng.integers(1950, 2020, 400)
    directions = rng.normal(size=(8, 12))
    table = np.zeros((401, 12), np.float32)
    table[1:] = directions[genres] + 0.02 * (years[:, None] - 1985) * np.ones(12) + 0.1 * rng.normal(size=(400, 12))
    ids = ["", *(f"i{n}" for n in range(400))]
    columns = {"genre": ["", *(f"g{g}" for g in genres)], "year": ["", *map(str, years)]}
    popularity = np.r_[0, np.ones(400, np.int64)]
    tower = fit_tower(Catalogue(ids, ids, popularity, {}, columns), table, 400)
    assert tower.fit.recall > 3 * tower.fit.random
    made = tower.vectors({"genre": ["g3"], "year": ["2010"]})[0]
    expected = directions[3] + 0.02 * 25
    assert np.corrcoef(made, expected)[0, 1] > 0.95


@pytest.mark.slow  # two certificates
def test_an_index_a_tower_and_a_narrow_table_come_along(sample: Dataset, tmp_path: Path) -> None:
    for package in ("faiss", "sklearn"):
        pytest.importorskip(package, reason=f"needs {package}")
    path = tmp_path / "narrow"
    export_bundle(random_model("recblr", sample), sample, path, window=50, table="int8", index=True, tower=True)
    before = Bundle.open(path)
    assert before.manifest.index is not None
    assert before.manifest.index.users == 1000
    tower, values = Tower.read(before), before.stored_table().values  # read before another bundle takes the place
    frame = pl.DataFrame({"item_id": ["a", "b"], "title": ["A Film", "Another"], "genre": ["Crime", "Comedy"]})
    added = add_items(path, frame)
    after = added.report.bundle
    assert tower is not None
    assert (added.by_tower, added.fit) == (2, tower.fit)
    made = tower.vectors({"title": ["A Film", "Another"], "genre": ["Crime", "Comedy"]})
    np.testing.assert_allclose(after.item_table()[-2:], made, atol=np.abs(made).max() / 127)
    assert after.manifest.state_id == before.manifest.state_id
    assert after.manifest.table.dtype == "int8"
    np.testing.assert_array_equal(after.stored_table().values[:-2], values)
    assert verify(path).passed
    recommender = Recommender.load(path)
    assert recommender._ranking.index is not None
    assert recommender._ranking.index._index.ntotal == sample.num_items + 2
    assert {entry.item_id for entry in recommender.recommend_after(["a"], only=["a", "b"])} == {"b"}
    retire_items(path, ["b"])
    assert Recommender.load(path)._ranking.index._index.ntotal == sample.num_items + 1  # type: ignore[union-attr]
