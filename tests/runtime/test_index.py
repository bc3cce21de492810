"""Lists through an index: nothing comes that may not, nothing is missing while it is left, and scores are exact."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.manifest import INDEX
from deployrec.errors import BundleError, ConfigError
from deployrec.export.index import best_rows, write_index
from deployrec.runtime import Recommender
from deployrec.runtime.verify import verify
from tests.runtime.conftest import Twin

ITEMS = 4000
RETIRED = np.array([5, 6, 7])
FITS: dict[str | None, Callable[[int], bool]] = {
    None: lambda row: True,
    "genre == 'rare'": lambda row: row % 100 == 0,
    "genre == 'odd'": lambda row: row % 3 == 0 and row % 100 > 0,
    "genre != 'rare'": lambda row: row % 100 > 0,
}


class Large(Twin):
    """A twin with items in clusters, one in a hundred of the genre "rare", one in three "odd"."""

    def __init__(self) -> None:
        super().__init__(num_items=ITEMS, dim=8)
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(60, 8))
        table = centres[rng.integers(0, 60, ITEMS + 1)] + 0.3 * rng.normal(size=(ITEMS + 1, 8))
        table[0] = 0
        self.weights["table"] = table.astype(np.float32)

    def items(self) -> str:
        kinds = ["rare" if row % 100 == 0 else "odd" if row % 3 == 0 else "plain" for row in range(1, ITEMS + 1)]
        lines = [f"i{row},Title {row},1,{kind}" for row, kind in enumerate(kinds, 1)]
        return "\n".join(["item_id,title,popularity,genre", *lines]) + "\n"


@pytest.fixture(scope="module")
def users() -> np.ndarray:
    """Vectors of users who have read a few items."""
    twin, rng = Large(), np.random.default_rng(1)
    return np.array([twin.read(rng.integers(1, ITEMS + 1, 5).tolist())[0] for _ in range(200)], np.float32)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, users: np.ndarray) -> Path:
    """A bundle with an index."""
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    bundle = Large().write(tmp_path_factory.mktemp("large"))
    facts = write_index(bundle.item_table(), users, bundle.path, np.zeros(0, np.int64))
    seal(bundle.path, {**bundle.manifest.document, "index": facts})
    return bundle.path


@pytest.fixture(scope="module")
def both(indexed: Path) -> tuple[Recommender, Recommender]:
    """Through the index, and exact."""
    return Recommender.load(indexed), Recommender.load(indexed, exact=True)


def rows_of(found: Any) -> list[int]:
    return [int(entry.item_id[1:]) for entry in found]


def test_the_manifest_says_what_was_measured(indexed: Path, users: np.ndarray) -> None:
    facts = Bundle.open(indexed).manifest.index
    assert facts is not None
    assert 0.97 <= facts.recall <= 1
    assert facts.users == len(users)
    assert verify(indexed).passed


def test_most_of_the_best_come_with_their_exact_scores(both: tuple[Recommender, Recommender]) -> None:
    near, exact = both
    rng, hits = np.random.default_rng(2), 0
    for _ in range(100):
        history = [f"i{row}" for row in rng.integers(1, ITEMS + 1, 5)]
        found, expected = near.recommend_after(history), exact.recommend_after(history)
        assert len(found) == 10
        hits += len(set(rows_of(found)) & set(rows_of(expected)))
        scores = {entry.item_id: entry.score for entry in expected}
        for entry in found:
            assert scores.get(entry.item_id, entry.score) == pytest.approx(entry.score, abs=1e-4)
        assert [entry.score for entry in found] == sorted((entry.score for entry in found), reverse=True)
    assert hits >= 950
    batch = near.recommend_many(["a", "b"])
    assert len(batch["a"]) == 10


def test_what_may_not_come_never_comes_and_what_is_left_comes(both: tuple[Recommender, Recommender]) -> None:
    near, exact = both

    @settings(max_examples=60, deadline=None)
    @given(
        history=st.lists(st.integers(1, ITEMS), min_size=1, max_size=300),
        k=st.sampled_from([1, 10, 60, 1500, ITEMS]),
        where=st.sampled_from(list(FITS)),
        block=st.integers(0, 30),
    )
    def check(history: list[int], k: int, where: str | None, block: int) -> None:
        ids = [f"i{row}" for row in history]
        best = exact.recommend_after(ids, 10)
        exclude = [entry.item_id for entry in best] + [f"i{row}" for row in range(100 * block, 100 * block + 100)]
        found = rows_of(near.recommend_after(ids, k, exclude=exclude, where=where))
        expected = rows_of(exact.recommend_after(ids, k, exclude=exclude, where=where))
        assert len(found) == len(set(found)) == len(expected)
        forbidden = {*history, *(int(item[1:]) for item in exclude)}
        assert not forbidden & set(found)
        assert all(FITS[where](row) for row in found)
        if where == "genre == 'rare'" or k >= 1500:
            assert found == expected  # few may come, or many are asked for: exact

    check()


def test_events_and_batches_go_through_the_index(both: tuple[Recommender, Recommender]) -> None:
    near, exact = both
    events = [(user, f"i{row}") for row in (3, 1000, 77) for user in ("ann", "bob")]
    hits = 0
    for recommender in both:
        for user in ("ann", "bob"):
            recommender.forget(user)
    _, lists = near.observe_many(events, recommend=10)
    _, expected = exact.observe_many(events, recommend=10)
    one = near.observe_and_recommend("ann", "i9"), exact.observe_and_recommend("ann", "i9")
    for found, best in (*((lists[user], expected[user]) for user in lists), one):
        hits += len(set(rows_of(found)) & set(rows_of(best)))
    assert hits >= 28
    assert rows_of(near.recommend_many(["ann", "bob"])["bob"]) == rows_of(lists["bob"])


def test_retired_rows_are_in_no_index(users: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    table = Large().weights["table"]
    facts = write_index(table, users, tmp_path, RETIRED)
    offered = np.ones(len(table), bool)
    offered[[0, *RETIRED]] = False
    assert not np.isin(best_rows(table, users, offered, 10), RETIRED).any()
    assert facts["recall"] >= 0.97


def test_a_handful_of_items_has_no_index(users: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    table = Large().weights["table"]
    with pytest.raises(ConfigError, match=r"at least 16 items for an index; got 15; leave --index out"):
        write_index(table[:16], users, tmp_path, np.zeros(0, np.int64))
    assert write_index(table[:17], users, tmp_path, np.zeros(0, np.int64))["recall"] >= 0.9
    assert capfd.readouterr() == ("", "")


def test_an_index_of_other_items_is_one_line(indexed: Path, copy_of: Callable[[Bundle], Bundle]) -> None:
    copy = copy_of(Bundle.open(indexed))
    facts = write_index(np.tile(copy.item_table(), (2, 1)), np.ones((9, 8), np.float32), copy.path, np.zeros(0, int))
    seal(copy.path, {**copy.manifest.document, "index": facts})
    with pytest.raises(BundleError, match=r"expected an index of 4,000 items; got item 8,001"):
        Recommender.load(copy.path)


def test_a_broken_index_is_one_line(indexed: Path, copy_of: Callable[[Bundle], Bundle]) -> None:
    copy = copy_of(Bundle.open(indexed))
    (copy.path / INDEX).write_bytes(b"no index at all" * 10)
    with pytest.raises(BundleError, match="export the bundle again"):
        Recommender.load(copy.path)
    seal(copy.path, copy.manifest.document)
    with pytest.raises(BundleError, match="expected an index in"):
        Recommender.load(copy.path)
    document = json.loads((copy.path / "manifest.json").read_text())
    with pytest.raises(BundleError, match="index"):
        seal(copy.path, {**document, "index": {"kind": "IVF"}})


def test_an_index_without_its_library_is_one_line(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"pip install .*index"):
        Recommender.load(indexed)
    assert Recommender.load(indexed, exact=True).recommend_after(["i1"])
