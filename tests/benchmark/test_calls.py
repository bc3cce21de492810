"""The public calls that are timed: real events, each once, by users who have read their histories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployrec.benchmark import Point
from deployrec.benchmark.calls import CALLS, MANY, PublicCalls
from deployrec.benchmark.replay import Replay, Sessions
from deployrec.bundle.bundle import Bundle
from deployrec.data import Dataset
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.events import Outcome
from deployrec.runtime.recommender import Recommender

HISTORY, K, TURNS = 7, 3, 10


class Spy(Recommender):
    """Keeps what the timed calls answered."""

    answers: list[Any]

    def observe(self, *arguments: Any, **named: Any) -> Any:
        return self._kept(super().observe(*arguments, **named))

    def observe_and_recommend(self, *arguments: Any, **named: Any) -> Any:
        return self._kept(super().observe_and_recommend(*arguments, **named))

    def observe_many(self, *arguments: Any, **named: Any) -> Any:
        return self._kept(super().observe_many(*arguments, **named))

    def recommend_many(self, *arguments: Any, **named: Any) -> Any:
        return self._kept(super().recommend_many(*arguments, **named))

    def _kept(self, answer: Any) -> Any:
        self.answers.append(answer)
        return answer


def run(bundle: Bundle, sample: Dataset, name: str, batch: int) -> tuple[Spy, list[Sessions]]:
    spy = Spy(bundle, load_backend("onnxruntime", bundle))
    spy.answers = []
    sessions = [Replay(sample, 0).sessions(Point(batch, HISTORY, sample.num_items, 1), number) for number in range(2)]
    timer = PublicCalls(spy, K).timer(name, [s.history for s in sessions], [s.following for s in sessions])
    assert (timer(TURNS) > 0).all()
    assert len(spy.answers) == TURNS
    return spy, sessions


@pytest.mark.parametrize("name", [name for name in CALLS if name != "recommend_many"])
def test_each_call_brings_the_next_real_events(bundle_of: Callable[[str], Path], sample: Dataset, name: str) -> None:
    bundle, batch = Bundle.open(bundle_of("recblr")), 3 if name in MANY else 1
    spy, sessions = run(bundle, sample, name, batch)
    read = TURNS // len(sessions)
    own = Recommender(bundle, spy.backend)
    for number, session in enumerate(sessions):
        for place in range(batch):
            rows = [*session.history[place], *session.following[place, :read]]
            user = spy.user(f"{name} {batch} {number} {place}")
            assert user is not None
            assert user.num_events == HISTORY + read
            own.forget("u")
            own.encode_history("u", [spy.catalogue.item_ids[row] for row in rows])
            expected = own.user("u")
            assert expected is not None
            assert user.seen == expected.seen
            np.testing.assert_allclose(user.user_vector, expected.user_vector, atol=1e-5)


def test_lists_have_k_items_and_no_event_is_a_duplicate(bundle_of: Callable[[str], Path], sample: Dataset) -> None:
    bundle = Bundle.open(bundle_of("recblr"))
    for outcomes, lists in run(bundle, sample, "observe_many with lists", 3)[0].answers:
        assert outcomes == [Outcome.APPLIED] * 3
        assert [len(found) for found in lists.values()] == [K] * 3
    for lists in run(bundle, sample, "recommend_many", 3)[0].answers:
        assert [len(found) for found in lists.values()] == [K] * 3
    assert all(len(found) == K for found in run(bundle, sample, "observe_and_recommend", 1)[0].answers)
    assert all(outcomes == [Outcome.APPLIED] * 3 for outcomes in run(bundle, sample, "observe_many", 3)[0].answers)


def test_after_the_last_event_the_first_comes_again(bundle_of: Callable[[str], Path], sample: Dataset) -> None:
    bundle = Bundle.open(bundle_of("recblr"))
    spy = Spy(bundle, load_backend("onnxruntime", bundle))
    spy.answers = []
    history, following = np.array([[1, 2]]), np.array([[3, 4]])
    PublicCalls(spy, K).timer("observe", [history], [following])(3)
    user = spy.user("observe 1 0 0")
    assert user is not None
    assert user.seen == [spy.catalogue.item_ids[row] for row in (1, 2, 4, 3)]
