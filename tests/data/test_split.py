"""Leave-one-out: every event has one place, and no view sees its own target."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from deployrec.data import Dataset, leave_one_out
from deployrec.data.split import SHORTEST_EVALUATED


def dataset_of(lengths: list[int]) -> Dataset:
    total = sum(lengths)
    items = pl.DataFrame({"item_id": [str(i) for i in range(total)]})
    return Dataset("n", items, [str(u) for u in range(len(lengths))], np.cumsum([0, *lengths]), np.arange(1, total + 1))


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_views_share_out_every_event_once(lengths: list[int]) -> None:
    dataset = dataset_of(lengths)
    split = leave_one_out(dataset)
    assert split.validation.targets is not None
    assert split.test.targets is not None
    train = np.concatenate([split.train.history(row) for row in range(len(split.train))])
    shared_out = np.concatenate([train, split.validation.targets, split.test.targets])
    assert np.array_equal(np.sort(shared_out), dataset.events)
    assert split.train.num_events == len(train)
    evaluated = [user for user, length in enumerate(lengths) if length >= SHORTEST_EVALUATED]
    for row, user in enumerate(evaluated):
        history = dataset.history(user)
        assert split.test.users[row] == split.validation.users[row] == user
        assert np.array_equal(split.validation.history(row), split.train.history(user))
        assert np.array_equal(split.validation.history(row), history[:-2])
        assert np.array_equal(split.test.history(row), history[:-1])
        assert (split.validation.targets[row], split.test.targets[row]) == (history[-2], history[-1])
    assert len(split.test) == len(split.validation) == len(evaluated)


def test_views_copy_nothing() -> None:
    dataset = dataset_of([5, 4])
    assert np.shares_memory(leave_one_out(dataset).test.history(1), dataset.events)
