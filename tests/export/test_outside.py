"""Models that have the least a model can have become verified bundles that recommend."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployrec.data import Dataset
from deployrec.export import export_bundle
from deployrec.models import SequentialRecommender
from deployrec.runtime import Recommender
from deployrec.runtime.verify import verify
from tests.models.test_testing import EncodeOnly, Least
from tests.support import random_model


@pytest.mark.parametrize(
    ("kind", "graphs"), [(Least, {"step", "advance", "encode", "score"}), (EncodeOnly, {"encode", "score"})]
)
def test_the_least_a_model_can_have(
    kind: type[SequentialRecommender], graphs: set[str], sample: Dataset, tmp_path: Path
) -> None:
    """Steps alone, and a model without a state, which reads the newest events of a history each time."""
    report = export_bundle(random_model(kind, sample), sample, tmp_path / "bundle")
    assert set(report.bundle.manifest.graphs) == graphs
    assert verify(tmp_path / "bundle").passed
    recommender = Recommender.load(tmp_path / "bundle")
    items = list(sample.items["item_id"])
    for item in items[:3]:
        best = recommender.observe_and_recommend("someone", item, k=5)
    assert len({recommendation.item_id for recommendation in best} - set(items[:3])) == 5
