"""Tables of float16 and int8: the certificate holds, and every way to a list is that of the rounded vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import ITEM_TABLE
from deployrec.bundle.table import Table
from deployrec.data import Dataset
from deployrec.errors import ConfigError
from deployrec.export import export_bundle
from deployrec.export.engine import build_engines
from deployrec.runtime import Recommender
from deployrec.runtime.verify import verify
from tests.support import random_model


@pytest.fixture(scope="module", params=["int8", "float16"])
def narrow(request: pytest.FixtureRequest, sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("narrow") / request.param
    model = random_model("recblr", sample)
    before = model.embedding.weight.detach().clone()
    export_bundle(model, sample, out, window=50, table=request.param)
    assert (model.embedding.weight == before).all()  # the caller's model is left alone
    return out


def test_the_certificate_holds_and_the_manifest_says_what_it_costs(narrow: Path) -> None:
    bundle = Bundle.open(narrow)
    assert verify(narrow).passed
    facts = bundle.manifest.table
    assert facts.dtype == narrow.name
    assert 0.8 < facts.recall <= 1
    numbers = (bundle.manifest.num_items + 1) * bundle.manifest.dim
    assert bundle.manifest.files[ITEM_TABLE].bytes == numbers * (1 if narrow.name == "int8" else 2)


def test_lists_are_those_of_the_rounded_vectors_and_no_wide_table_is_kept(narrow: Path) -> None:
    recommender = Recommender.load(narrow)
    ids, table = recommender.catalogue.item_ids, recommender.item_vectors()
    rng = np.random.default_rng(0)
    for row in rng.integers(1, 481, 8):
        found = recommender.observe_and_recommend("ann", ids[row], k=480)
        vector, seen = recommender.user_vector("ann"), recommender.user("ann")
        assert vector is not None
        assert seen is not None
        scores = table @ vector
        scores[[0, *(recommender.catalogue.rows[item] for item in seen.seen)]] = -np.inf
        np.testing.assert_allclose([entry.score for entry in found], np.sort(scores)[::-1][: len(found)], atol=1e-4)
        assert len(found) == 480 - len(seen.seen)
    few = recommender.recommend("ann", 5, only=ids[1:40])
    assert [e.item_id for e in few] == [e.item_id for e in recommender.recommend("ann", 480) if e.item_id in ids[1:40]][
        :5
    ]
    assert len(recommender.recommend("ann", 480, where="popularity >= 0")) == len(found)
    assert set(recommender.backend.sessions) == {"advance", "encode"}  # type: ignore[attr-defined]


def test_plans_of_a_narrow_table_are_refused(narrow: Path) -> None:
    with pytest.raises(ConfigError, match="float32 item table"):
        build_engines(narrow)


def test_a_dtype_that_is_none_is_one_line(sample: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="float16, int8"):
        export_bundle(random_model("recblr", sample), sample, tmp_path / "out", window=50, table="int4")
    assert not (tmp_path / "out").exists()


@given(
    vectors=arrays(np.float32, (7, 5), elements=st.floats(-100, 100, width=32)),
    dtype=st.sampled_from(["float32", "float16", "int8"]),
)
def test_rounding_keeps_within_half_a_step_and_every_way_reads_the_same(vectors: np.ndarray, dtype: str) -> None:
    table = Table.rounded(vectors, dtype)
    wide = table.floats()
    largest = np.abs(vectors).max(1, keepdims=True)
    step = {"float32": 0, "float16": 2.0**-10 * largest + 1e-7, "int8": largest / 127 * 0.51 + 1e-30}[dtype]
    assert (np.abs(wide - vectors) <= step).all()
    rows = np.array([[3, 1], [0, 6]])
    np.testing.assert_array_equal(table.take(rows), wide[rows])
    user = np.arange(10, dtype=np.float32).reshape(2, 5)
    np.testing.assert_allclose(table.products(user), user @ wide.T, rtol=1e-4, atol=1e-3)
    joined = table.joined(table)
    np.testing.assert_array_equal(joined.floats(), np.concatenate([wide, wide]))
