"""An exported bundle scores histories as the model that it was exported from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from deployrec.bundle.bundle import Bundle
from deployrec.data import Dataset
from deployrec.export.scorer import BundleScorer
from deployrec.models import SequentialRecommender
from deployrec.training.evaluate import evaluate_scorers
from deployrec.training.scorers import Scorer, StreamedScorer, WindowedScorer
from tests.support import random_model

KEYS = ["glintru", "recblr", "sasrec"]


def as_trained(model: SequentialRecommender) -> Scorer:
    window = model.state_spec.exact_up_to
    return StreamedScorer(model, 50) if window is None else WindowedScorer(model, window)


@pytest.mark.parametrize("key", KEYS)
def test_scores_equal_torch_in_any_order(key: str, sample: Dataset, bundle_of: Callable[[str], Path]) -> None:
    model = random_model(key, sample)
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, sample.num_items + 1, length) for length in (7, 1, 260, 30, 30, 2)]
    scorer = BundleScorer(Bundle.open(bundle_of(key)))
    with torch.inference_mode():
        found, expected = scorer.scores(histories), as_trained(model.eval()).scores(histories)
    assert torch.all(found[:, 0] == -torch.inf)
    torch.testing.assert_close(found[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("key", KEYS)
def test_a_report_has_the_same_figures(key: str, sample: Dataset, bundle_of: Callable[[str], Path]) -> None:
    model = random_model(key, sample).eval()
    few = Dataset("few", sample.items, sample.user_ids[:60], sample.offsets[:61], sample.events[: sample.offsets[60]])
    scorers = [as_trained(model), BundleScorer(Bundle.open(bundle_of(key)))]
    report = evaluate_scorers(scorers, few, window=50, baselines=False)
    for masked in (True, False):
        torch_row, bundle_row = (report.row(scorer.name, masked).metrics for scorer in scorers)
        assert bundle_row == pytest.approx(torch_row, abs=2e-3)
