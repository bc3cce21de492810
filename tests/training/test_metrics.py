"""Metrics against torchmetrics, ties against all orders written out, masking against scores of -inf."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.retrieval import (
    retrieval_hit_rate,
    retrieval_normalized_dcg,
    retrieval_reciprocal_rank,
)

from deployrec.training.metrics import METRICS, Ranks, masked_ranks, target_ranks

REFERENCE = {"hr": retrieval_hit_rate, "ndcg": retrieval_normalized_dcg, "mrr": retrieval_reciprocal_rank}


def table(users: int, items: int, levels: int | None, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores [users, items + 1], distinct or out of `levels` values, and targets."""
    rng = np.random.default_rng(seed)
    order = np.stack([rng.permutation(items) for _ in range(users)])
    scores = torch.from_numpy(1 + (order if levels is None else order % levels)).double()
    scores = torch.cat([torch.full((users, 1), -torch.inf, dtype=torch.float64), scores], 1)
    return scores, torch.from_numpy(rng.integers(1, items + 1, users))


def reference(scores: torch.Tensor, target: int, metric: str) -> float:
    name, _, cutoff = metric.partition("@")
    relevant = torch.zeros(len(scores), dtype=torch.long)
    relevant[target] = 1
    return float(REFERENCE[name](scores, relevant, top_k=int(cutoff)))


@given(st.integers(1, 6), st.integers(2, 45), st.integers(0, 2**31))
def test_metrics_without_ties_equal_torchmetrics(users: int, items: int, seed: int) -> None:
    scores, targets = table(users, items, None, seed)
    ranks = target_ranks(scores, targets)
    for metric in METRICS:
        expected = [reference(row, int(t), metric) for row, t in zip(scores[:, 1:], targets - 1, strict=True)]
        np.testing.assert_allclose(ranks.per_user(metric), expected, rtol=1e-5)
        np.testing.assert_allclose(ranks.metrics()[metric], np.mean(expected), rtol=1e-5)


@given(st.integers(2, 6), st.integers(1, 3), st.integers(0, 2**31), st.sampled_from(["hr@2", "ndcg@3", "mrr@2"]))
def test_ties_count_as_the_mean_over_all_their_orders(items: int, levels: int, seed: int, metric: str) -> None:
    scores, targets = table(1, items, levels, seed)
    row, target = scores[0, 1:], int(targets[0]) - 1
    jitters = (torch.tensor(order) * 1e-3 for order in permutations(range(items)))
    expected = np.mean([reference(row + jitter, target, metric) for jitter in jitters])
    np.testing.assert_allclose(target_ranks(scores, targets).per_user(metric), expected, rtol=1e-5, atol=1e-7)


@given(st.integers(1, 5), st.integers(2, 30), st.none() | st.integers(1, 4), st.integers(0, 2**31))
def test_masking_equals_seen_scores_of_minus_infinity(users: int, items: int, levels: int | None, seed: int) -> None:
    scores, targets = table(users, items, levels, seed)
    rng = np.random.default_rng(seed + 1)
    seen = [rng.integers(1, items + 1, rng.integers(1, 2 * items)) for _ in range(users)]
    seen = [items[items != int(target)] for items, target in zip(seen, targets, strict=True)]
    masked = masked_ranks(target_ranks(scores, targets), scores, targets, seen)
    removed = scores.clone()
    for row, gone in zip(removed, seen, strict=True):
        row[torch.from_numpy(gone)] = -torch.inf
    expected = target_ranks(removed, targets)
    assert masked.better.tolist() == expected.better.tolist()
    assert masked.tied.tolist() == expected.tied.tolist()


def test_a_target_that_was_seen_is_missed_by_masked_ranking() -> None:
    scores, targets = torch.tensor([[-torch.inf, 3.0, 2.0], [-torch.inf, 3.0, 2.0]]), torch.tensor([1, 2])
    masked = masked_ranks(target_ranks(scores, targets), scores, targets, [np.array([1, 1]), np.array([1])])
    assert masked.per_user("hr@10").tolist() == [0.0, 1.0]
    assert masked.per_user("mrr@10").tolist() == [0.0, 1.0]


def test_metrics_of_some_users() -> None:
    ranks = Ranks(np.array([0, 1, 50]), np.array([0, 0, 0]))
    assert ranks.metrics(np.array([True, False, True]))["mrr@10"] == pytest.approx(0.5)
    assert np.isnan(ranks.metrics(np.zeros(3, bool))["hr@10"])
