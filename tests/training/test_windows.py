"""Windows cover every event once; batches keep to their budget and carry the right past."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deployrec.data import Dataset, leave_one_out
from deployrec.training.windows import WindowBatches, cut_windows, length_batches
from tests.training.conftest import MakeDataset

lengths_of_users = st.lists(st.integers(0, 60), min_size=1, max_size=12)
windows = st.integers(1, 25)
seeds = st.integers(0, 2**31)


def ranges(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    stops = np.cumsum(lengths)
    return stops - lengths, stops


@given(lengths_of_users, windows, seeds)
def test_every_event_but_a_users_first_is_predicted_once(lengths: list[int], window: int, seed: int) -> None:
    starts, stops = ranges(lengths)
    cut = cut_windows(starts, stops, window, np.random.default_rng(seed))
    predicted = [target for start, end in zip(cut.start, cut.end, strict=True) for target in range(start + 1, end + 1)]
    expected = [target for start, stop in zip(starts, stops, strict=True) for target in range(start + 1, stop)]
    assert sorted(predicted) == expected
    assert np.all((cut.end - cut.start >= 1) & (cut.end - cut.start <= window))


@given(lengths_of_users, windows, seeds)
def test_a_history_that_fits_is_not_cut(lengths: list[int], window: int, seed: int) -> None:
    starts, stops = ranges(lengths)
    cut = cut_windows(starts, stops, window, np.random.default_rng(seed))
    for start, stop in zip(starts, stops, strict=True):
        if 2 <= stop - start <= window + 1:
            assert np.count_nonzero(cut.first == start) == 1


def test_the_phase_differs_between_epochs() -> None:
    starts, stops = ranges([500])
    phases = {cut_windows(starts, stops, 50, np.random.default_rng([1, e])).end[0] for e in range(40)}
    assert len(phases) > 20
    assert max(phases) <= 50


@given(st.lists(st.integers(1, 60), min_size=1), st.integers(1, 100), st.integers(1, 7), st.none() | seeds)
def test_batches_cover_all_rows_within_the_budget(lengths: list[int], tokens: int, most: int, seed: int | None) -> None:
    array = np.array(lengths)
    rng = None if seed is None else np.random.default_rng(seed)
    batches = length_batches(array, tokens, rng, most)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert all(len(b) <= most and (len(b) == 1 or len(b) * array[b].max() <= tokens) for b in batches)


@given(st.lists(st.integers(3, 60), min_size=1, max_size=10), windows, st.sampled_from([0.0, 0.5, 1.0]), seeds)
def test_batches_hold_events_their_successors_and_their_past(
    make_dataset: MakeDataset, lengths: list[int], window: int, carried: float, seed: int
) -> None:
    total = sum(lengths)
    numbered = [list(range(start, stop)) for start, stop in zip(*ranges(lengths), strict=True)]
    dataset = make_dataset([[event + 1 for event in history] for history in numbered], total)  # event = row - 1
    view = leave_one_out(dataset).train
    user_of = np.repeat(np.arange(len(lengths)), lengths)
    seen, later, began_with_state = [], 0, 0
    for batch in WindowBatches(view, window, 64, carried, seed, epoch=3):
        position = np.arange(batch.items.shape[1])
        inside = position < batch.lengths.numpy()[:, None]
        items, targets = batch.items.numpy(), batch.targets.numpy()
        assert np.all(items[~inside] == 0)
        assert np.all(targets[~inside] == 0)
        assert np.all(targets[inside] == items[inside] + 1)
        seen += targets[inside].tolist()
        first_event = items[:, 0] - 1
        later += int((first_event > view.starts[user_of[first_event]]).sum())
        began_with_state += len(batch.carried)
        assert all(len(batch.earlier[row]) for row in batch.carried)
        for row, earlier in enumerate(batch.earlier):
            begin = view.starts[user_of[first_event[row]]]
            assert earlier.tolist() == list(range(begin + 1, first_event[row] + 1))
    expected = [row + 1 for start, stop in zip(view.starts, view.stops, strict=True) for row in range(start + 1, stop)]
    assert sorted(seen) == expected
    assert began_with_state == {0.0: 0, 1.0: later}.get(carried, began_with_state)
    assert began_with_state <= later


def test_seed_and_epoch_fix_the_batches(cycles: Dataset) -> None:
    view = leave_one_out(cycles).train

    def batches(seed: int, epoch: int) -> list[list[int]]:
        return [batch.items.flatten().tolist() for batch in WindowBatches(view, 10, 100, 0.5, seed, epoch)]

    assert batches(1, 2) == batches(1, 2)
    assert batches(1, 2) != batches(1, 3)
    assert batches(1, 2) != batches(2, 2)
