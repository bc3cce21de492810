"""Baselines against their definition written out, and the floors measured on real logs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployrec.data import leave_one_out, load_dataset
from deployrec.training.baselines import Markov, Popularity
from deployrec.training.evaluate import rank_users
from deployrec.training.scorers import Scorer
from tests.training.conftest import MakeDataset

histories_of_users = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=12), min_size=1, max_size=5)


@given(histories_of_users, st.integers(1, 5), st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_markov_follows_its_definition(
    make_dataset: MakeDataset, histories: list[list[int]], lags: int, history: list[int]
) -> None:
    train = leave_one_out(make_dataset(histories, 6)).train
    kept = [h[:-2] if len(h) >= 3 else h for h in histories]
    weight: dict[tuple[int, int], float] = defaultdict(float)
    for h in kept:
        for lag in range(1, lags + 1):
            for before, after in zip(h, h[lag:], strict=False):
                weight[before, after] += 1 / lag
    popularity = Counter(item for h in kept for item in h)
    expected = [1e-9 * popularity[item] / popularity.total() for item in range(1, 7)]
    for age, item in enumerate(reversed(history[-lags:])):
        total = sum(weight[item, other] for other in range(1, 7))
        for other in range(1, 7):
            expected[other - 1] += 0.5**age * weight[item, other] / total if total else 0
    scores = Markov(train, lags).scores([np.array(history)])[0]
    assert scores[0] == -np.inf
    np.testing.assert_allclose(scores[1:], expected, rtol=1e-9, atol=1e-15)


@given(histories_of_users)
def test_popularity_counts_training_events_only(make_dataset: MakeDataset, histories: list[list[int]]) -> None:
    train = leave_one_out(make_dataset(histories, 6)).train
    counts = Counter(item for h in histories for item in (h[:-2] if len(h) >= 3 else h))
    scores = Popularity(train).scores([np.array([1]), np.array([2])])
    assert scores[:, 1:].tolist() == [[counts[item] for item in range(1, 7)]] * 2
    assert scores[:, 0].tolist() == [-np.inf] * 2


FLOORS = {
    "ml-1m": {
        "popularity": (0.016, 0.008),
        "bigram": (0.189, 0.107),
        "markov": (0.222, 0.127),
        "masked": (0.263, 0.154),
    },
    "beauty": {
        "popularity": (0.011, 0.005),
        "bigram": (0.066, 0.043),
        "markov": (0.077, 0.048),
        "masked": (0.080, 0.051),
    },
}


@pytest.mark.parametrize("name", FLOORS)
def test_floors_on_real_logs(real_log: Callable[[str], Path], name: str) -> None:
    views = leave_one_out(load_dataset(real_log(name)))
    scorers: dict[str, Scorer] = {
        "popularity": Popularity(views.train),
        "bigram": Markov(views.train, 1),
        "markov": Markov(views.train),
    }
    for key, scorer in scorers.items():
        masked, unmasked = rank_users(scorer, views.test)
        found = unmasked.metrics()
        assert (round(found["hr@10"], 3), round(found["ndcg@10"], 3)) == FLOORS[name][key]
    assert (round(masked.metrics()["hr@10"], 3), round(masked.metrics()["ndcg@10"], 3)) == FLOORS[name]["masked"]
