"""Replayed sessions are real ones, the same for the same seed, and fit any catalogue."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deployrec.benchmark import Point
from deployrec.benchmark.replay import AHEAD, Replay, spread
from deployrec.data import Dataset


@given(history=st.integers(1, 60), batch=st.integers(1, 5), seed=st.integers(0, 9))
def test_sessions_are_stretches_of_users_histories(sample: Dataset, history: int, batch: int, seed: int) -> None:
    point = Point(batch, history, sample.num_items, 1)
    drawn = Replay(sample, seed).sessions(point)
    again = Replay(sample, seed).sessions(point)
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))
    for row in np.column_stack([drawn.history, drawn.item]):
        assert any(
            np.array_equal(row, window)
            for user in range(sample.num_users)
            if len(sample.history(user)) >= len(row) and row[0] in (own := sample.history(user))
            for window in np.lib.stride_tricks.sliding_window_view(own, len(row))
        )
    for row, exclude in zip(np.column_stack([drawn.history, drawn.item]), drawn.exclude, strict=True):
        assert set(exclude) - {0} == set(row)
        assert np.count_nonzero(exclude) == len(set(row))


@given(history=st.integers(1, 60), seed=st.integers(0, 9))
def test_what_follows_is_the_users_own_and_then_begins_again(sample: Dataset, history: int, seed: int) -> None:
    drawn = Replay(sample, seed).sessions(Point(3, history, sample.num_items, 1))
    assert np.array_equal(drawn.following[:, 0], drawn.item)
    assert drawn.following.shape == (3, AHEAD)
    owns = [sample.history(user) for user in range(sample.num_users)]
    for row in np.column_stack([drawn.history, drawn.following]):
        assert any(
            np.array_equal(row, own[(start + np.arange(len(row))) % len(own)])
            for own in owns
            if len(own) > history and set(row) <= set(own)
            for start in range(len(own) - history)
        )


def test_histories_longer_than_any_user_are_glued_and_numbers_differ(sample: Dataset) -> None:
    point = Point(2, 2000, sample.num_items, 1)
    first, second = (Replay(sample, 0).sessions(point, number) for number in (0, 1))
    assert first.history.shape == (2, 2000)
    assert first.exclude.shape == (2, max(len(set(row)) for row in np.column_stack([first.history, first.item])))
    assert not np.array_equal(first.history, second.history)


@given(num_items=st.integers(1, 500), catalogue=st.integers(1, 5000))
def test_rows_stay_in_the_catalogue_and_apart_where_they_can(num_items: int, catalogue: int) -> None:
    rows = spread(np.arange(1, num_items + 1), num_items, catalogue)
    assert rows.min() >= 1
    assert rows.max() <= catalogue
    assert len(np.unique(rows)) == min(num_items, catalogue)
    if catalogue >= num_items:
        gaps = np.diff([*rows, catalogue + 1])
        assert gaps.max() - gaps.min() <= 1
