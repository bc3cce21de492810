"""Models without a state: a bundle of encode and score, served by reading the window again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deployrec.bundle.bundle import Bundle
from deployrec.runtime import Recommender
from deployrec.runtime.verify import verify

MODELS = {"bert4rec": 199, "fmlprec": 50, "narm": 50}
"""How many newest events each reads."""
models = pytest.mark.parametrize(
    "key", ["narm", *(pytest.param(key, marks=pytest.mark.slow) for key in ("bert4rec", "fmlprec"))]
)


@models
def test_it_exports_what_reads_and_a_certificate(bundle_of: Callable[[str], Path], key: str) -> None:
    path = bundle_of(key)
    bundle = Bundle.open(path)
    assert set(bundle.manifest.graphs) == {"encode", "score"}
    assert bundle.manifest.window == MODELS[key]
    assert not bundle.manifest.state.tensors
    assert verify(path).passed


@models
def test_serving_event_by_event_reads_the_newest_events(bundle_of: Callable[[str], Path], key: str) -> None:
    recommender = Recommender.load(bundle_of(key))
    items = recommender.catalogue.item_ids[1:]
    history = [items[n] for n in np.random.default_rng(0).integers(0, len(items), MODELS[key] + 9)]
    for item in history:
        recommender.observe("ann", item)
    recommender.encode_history("bob", history)
    recommender.encode_history("cleo", history[-MODELS[key] :])
    answers = [recommender.recommend(user, 5, exclude_seen=False) for user in ("ann", "bob", "cleo")]
    for answer in answers[1:]:
        assert [one.item_id for one in answer] == [one.item_id for one in answers[0]]
        np.testing.assert_allclose([one.score for one in answer], [one.score for one in answers[0]], atol=1e-4)
