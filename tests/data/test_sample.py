"""The sample's process and its ceiling: exact, and worth learning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from deployrec.data import Dataset, LeaveOneOut, leave_one_out, load_dataset
from deployrec.data.sample import SampleProcess, draw_histories, sample_dataset
from deployrec.data.sample_ceiling import (
    SampleCeiling,
    film_probability,
    next_item_probability,
    sample_ceiling,
)
from deployrec.data.sample_titles import GENRES, film_titles

Scores = NDArray[np.float64]


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return load_dataset("sample")


@pytest.fixture(scope="module")
def ceiling() -> SampleCeiling:
    return sample_ceiling()


def hit_rate(scores: Scores, split: LeaveOneOut, k: int = 10) -> float:
    """Masked HR@k of scores [V, N + 1] on the test items; ties count half."""
    test = split.test
    assert test.targets is not None
    scores = scores.copy()
    scores[:, 0] = -np.inf
    for row in range(len(test)):
        scores[row, test.history(row)] = -np.inf
    target = scores[np.arange(len(test)), test.targets][:, None]
    rank = (scores > target).sum(axis=1) + ((scores == target).sum(axis=1) - 1) / 2
    return float((rank < k).mean())


def test_the_sample_is_the_same_everywhere(sample: Dataset) -> None:
    assert sample.digest == "2ef2f15a719543da630e2536fb16d64407bce71baa8fb1f5cf0342b40ddc2cf6"
    assert sample_dataset(SampleProcess(seed=1)).digest != sample.digest


def test_the_sample_reads_like_a_catalogue(sample: Dataset) -> None:
    assert sample.items.columns == ["item_id", "title", "popularity", "genre", "release_year"]
    assert sample.items["title"].n_unique() == sample.num_items == 480
    assert set(" ".join(sample.items["genre"]).split()) == set(GENRES)
    assert len(set(film_titles(1300, np.random.default_rng(0))[0])) == 1300


@given(
    st.builds(
        SampleProcess,
        seed=st.integers(0, 99),
        num_users=st.integers(2, 20),
        num_items=st.integers(6, 40),
        num_interests=st.integers(2, 5),
        shortest=st.integers(3, 5),
        mean_length=st.integers(6, 30),
    )
)
@settings(deadline=None)
def test_nobody_sees_a_film_twice_and_every_draw_was_possible(process: SampleProcess) -> None:
    lengths, films = draw_histories(process)
    histories = [list(history) for history in np.split(films, np.cumsum(lengths)[:-1])]
    assert all(len(set(history)) == len(history) for history in histories)
    longest_first = sorted(histories, key=len, reverse=True)
    probability = film_probability(process, [np.array(history[:-1]) for history in longest_first])
    np.testing.assert_allclose(probability.sum(axis=1), 1, atol=1e-12)
    for row, history in enumerate(longest_first):
        assert probability[row, history[-1]] > 0
        assert not probability[row, history[:-1]].any()


@pytest.mark.parametrize("ahead", [(5, 2), (5,)], ids=["two-ahead", "one-ahead-often-exhausted"])
def test_the_posterior_is_what_simulation_counts(ahead: tuple[int, ...]) -> None:
    """Of 150,000 users in a tiny world, those who share a history continue as the filter says."""
    process = SampleProcess(
        num_users=150_000, num_items=6, num_interests=3, shortest=4, mean_length=4, longest=4,
        stay=60, stray=20, drift=(2, 1), ahead=ahead, popularity=(1, 2, 3),
    )  # fmt: skip
    lengths, films = draw_histories(process)
    histories = films.reshape(-1, 4)
    assert (lengths == 4).all()
    known, which, counts = np.unique(histories[:, :3], axis=0, return_inverse=True, return_counts=True)
    probability = film_probability(process, list(known))
    observed = np.zeros_like(probability)
    np.add.at(observed, (which.ravel(), histories[:, 3]), 1)
    expected = probability * counts[:, None]
    likely = expected > 20
    chi_square = ((observed - expected) ** 2 / np.maximum(expected * (1 - probability), 1e-9))[likely]
    # Each has mean 1 and variance about 2; the bound is four standard errors of their mean.
    assert len(chi_square) > 300
    assert chi_square.mean() < 1 + 4 * np.sqrt(2 / len(chi_square))


def test_the_ceiling_is_reached_by_ranking_with_the_true_probability(sample: Dataset, ceiling: SampleCeiling) -> None:
    split = leave_one_out(sample)
    probability = next_item_probability(SampleProcess(), split.test)
    assert hit_rate(probability, split) == pytest.approx(ceiling.hit_rate, abs=1e-3)
    hit_probability = np.sort(probability, axis=1)[:, -10:].sum(axis=1)
    error = np.sqrt((hit_probability * (1 - hit_probability)).sum()) / len(hit_probability)
    assert abs(ceiling.hit_rate - ceiling.expected_hit_rate) < 4 * error
    assert 0.4 < ceiling.ndcg < ceiling.hit_rate < 0.95


def test_order_matters(sample: Dataset, ceiling: SampleCeiling) -> None:
    """The ceiling stands clear of the bigram, and far above popularity."""
    split = leave_one_out(sample)
    transitions = np.zeros((sample.num_items + 1, sample.num_items + 1))
    for row in range(len(split.train)):
        history = split.train.history(row)
        np.add.at(transitions, (history[:-1], history[1:]), 1)
    newest = np.array([split.test.history(row)[-1] for row in range(len(split.test))])
    popularity = hit_rate(np.tile(transitions.sum(axis=0), (len(newest), 1)), split)
    bigram = hit_rate(transitions[newest] + 1e-9 * transitions.sum(axis=0), split)
    assert ceiling.hit_rate > 15 * popularity
    assert ceiling.hit_rate > 1.4 * bigram
    assert bigram > 5 * popularity


def test_shuffled_histories_lose_what_the_filter_knows(sample: Dataset, ceiling: SampleCeiling) -> None:
    """A filter that reads the same histories backwards predicts worse: the figure is not one of sets."""
    test = leave_one_out(sample).test
    by_row = np.array([480, *(int(item) - 1000 for item in sample.items["item_id"])])
    order = np.argsort(test.starts - test.stops, kind="stable")
    assert test.targets is not None
    backwards = film_probability(SampleProcess(), [by_row[test.history(row)[::-1]] for row in order])
    best = np.argsort(-backwards, axis=1)[:, :10]
    assert (best == by_row[test.targets[order]][:, None]).any(axis=1).mean() < 0.5 * ceiling.hit_rate


def test_a_data_set_prints_its_size() -> None:
    assert repr(load_dataset("sample")) == "Dataset(sample: 2,000 users, 480 items, 119,237 events)"
