"""What the best possible recommender reaches on the sample: forward filtering over the hidden interest, exactly.

Given a user's history, what an interest would draw next is known; only the interest is not. Its posterior follows
from Bayes' rule event by event (the forward pass of a hidden Markov model whose emissions depend on the past), so
the next item's distribution is exact, and ranking by it is the best ranking there is (of HR and of NDCG).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deployrec.data.dataset import Dataset, Int64Array
from deployrec.data.sample import (
    SampleProcess,
    SampleWorld,
    Seen,
    build_world,
    interest_weights,
    sample_dataset,
    stray_weights,
)
from deployrec.data.split import SplitView, leave_one_out


@dataclass(frozen=True)
class SampleCeiling:
    """The best possible figures at `k` on the sample's test items; seen items never rank, masked or not.

    hit_rate            share of the log's own test items among the k best: what a model's HR@k is held against
    ndcg                the same ranking's NDCG@k
    expected_hit_rate   mean probability of the k best: what hit_rate is on average over logs with these histories
    """

    k: int
    hit_rate: float
    ndcg: float
    expected_hit_rate: float


def sample_ceiling(process: SampleProcess | None = None, k: int = 10) -> SampleCeiling:
    """Rank all items for every user's test item by their true probability. About 2 s at the default size."""
    process = process or SampleProcess()
    test = leave_one_out(sample_dataset(process)).test
    probability = next_item_probability(process, test)
    assert test.targets is not None
    best = np.sort(probability, axis=1)[:, ::-1][:, :k]
    target = probability[np.arange(len(test)), test.targets][:, None]
    rank = (probability > target).sum(axis=1)
    hit = rank < k
    return SampleCeiling(
        k=k,
        hit_rate=float(hit.mean()),
        ndcg=float((hit / np.log2(rank + 2)).mean()),
        expected_hit_rate=float(best.sum(axis=1).mean()),
    )


def next_item_probability(process: SampleProcess, view: SplitView) -> NDArray[np.float64]:
    """P(next item row | history) for each of `view`'s histories: [V, N + 1], column 0 (padding) is 0.

    `view` must be of `sample_dataset(process)`.
    """
    films = films_of_rows(view.dataset, process.num_items)
    order = np.argsort(view.starts - view.stops, kind="stable")
    histories = [films[view.history(row)] for row in order]
    by_film = film_probability(process, histories)
    probability = np.zeros((len(view), view.dataset.num_items + 1))
    probability[order, 1:] = by_film[:, films[1:]]
    return probability


def films_of_rows(dataset: Dataset, num_items: int) -> Int64Array:
    """The process's own number 0..N-1 of each item row 0..N; the padding row has the pad's number N."""
    return np.array([num_items, *(int(item) - 1000 for item in dataset.items["item_id"])])


def film_probability(process: SampleProcess, histories: list[Int64Array]) -> NDArray[np.float64]:
    """P(next film | history) [V, N] for histories of films 0..N-1, longest first (0 long: a user's first film)."""
    world = build_world(process)
    transition = world.transition / world.transition.sum(axis=1, keepdims=True)
    lengths = np.array([len(history) for history in histories])
    seen = Seen.nothing(process, len(histories))
    belief = np.full((len(histories), process.num_interests), 1 / process.num_interests)
    for t in range(lengths[0] if len(lengths) else 0):
        active = int((lengths > t).sum())
        film = np.array([history[t] for history in histories[:active]])
        past = seen.first(active)
        posterior = belief[:active] * _likelihood(process, world, past, film)
        belief[:active] = posterior / posterior.sum(axis=1, keepdims=True) @ transition
        past.add(world, film)
    return _predict(process, world, seen, belief)


def _likelihood(process: SampleProcess, world: SampleWorld, seen: Seen, film: Int64Array) -> NDArray[np.float64]:
    """P(film | interest, seen): [U, Z]."""
    users = np.arange(len(film))
    strays = stray_weights(world, seen)
    stray = strays[users, film] / strays.sum(axis=1)
    likelihood = np.empty((len(film), process.num_interests))
    for z in range(process.num_interests):
        weights = interest_weights(process, world, np.full(len(film), z), seen)
        total = weights.sum(axis=1)
        place = world.place[film, z]
        own = np.where(place >= 0, weights[users, place], 0) / np.maximum(total, 1)
        own = np.where(total == 0, stray, own)
        likelihood[:, z] = (process.stray * stray + (100 - process.stray) * own) / 100
    return likelihood


def _predict(
    process: SampleProcess, world: SampleWorld, seen: Seen, belief: NDArray[np.float64]
) -> NDArray[np.float64]:
    """P(film | seen) [U, N] under the belief [U, Z] of the interest of the next event."""
    strays = stray_weights(world, seen)
    stray = strays / strays.sum(axis=1, keepdims=True)
    probability = process.stray / 100 * stray
    for z in range(process.num_interests):
        weights = interest_weights(process, world, np.full(len(belief), z), seen)
        total = weights.sum(axis=1, keepdims=True)
        share = (100 - process.stray) / 100 * belief[:, [z]]
        probability += np.where(total == 0, share * stray, 0)
        probability[:, world.ring[z]] += share * weights / np.maximum(total, 1)
    return probability[:, :-1]
