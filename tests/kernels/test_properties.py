"""What holds for every recurrence whatever computes it: splits, padding, single rows, linearity."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.cases import (
    LINEAR_RECURRENCE,
    OPERATORS,
    RECURRENCES,
    Recurrence,
    differentiate,
    loss_weights,
    randn,
)

few = settings(max_examples=20, deadline=None)
ragged = st.lists(st.integers(0, 8), min_size=1, max_size=4)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
@few
@given(time=st.integers(1, 40), data=st.data())
def test_a_split_with_carried_state_changes_nothing(recurrence: Recurrence, time: int, data: st.DataObject) -> None:
    split = data.draw(st.integers(0, time))
    inputs = recurrence.inputs(2, time, 6)
    hidden, final = recurrence.op(**inputs)
    first = inputs | {name: inputs[name][:, :split] for name in recurrence.per_event}
    rest = inputs | {name: inputs[name][:, split:] for name in recurrence.per_event}
    hidden_first, carried = recurrence.op(**first)
    hidden_rest, final_rest = recurrence.op(**(rest | {"initial_state": carried}))
    torch.testing.assert_close(torch.cat((hidden_first, hidden_rest), 1), hidden)
    torch.testing.assert_close(final_rest, final)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
@few
@given(lengths=ragged)
def test_a_row_of_a_ragged_batch_equals_the_row_alone(recurrence: Recurrence, lengths: list[int]) -> None:
    inputs = recurrence.inputs(len(lengths), 8, 6)
    hidden, final = recurrence.op(**inputs, lengths=torch.tensor(lengths))
    for row, length in enumerate(lengths):
        single = {name: inputs[name][row : row + 1, :length] for name in recurrence.per_event}
        alone = inputs | single | {"initial_state": inputs["initial_state"][row : row + 1]}
        hidden_alone, final_alone = recurrence.op(**alone)
        torch.testing.assert_close(hidden_alone[0], hidden[row, :length])
        torch.testing.assert_close(final_alone[0], final[row])


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
@few
@given(lengths=ragged)
def test_padding_is_never_read(recurrence: Recurrence, lengths: list[int]) -> None:
    clean = recurrence.inputs(len(lengths), 8, 6)
    padding = torch.arange(8) >= torch.tensor(lengths)[:, None]
    dirty = {name: x.clone() for name, x in clean.items()}
    for name in recurrence.per_event:
        dirty[name][padding] = torch.nan
    weights = loss_weights(recurrence, clean)
    expected = differentiate(recurrence.op, clean, weights, lengths=torch.tensor(lengths))
    got = differentiate(recurrence.op, dirty, weights, lengths=torch.tensor(lengths))
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=0)
    for name in recurrence.per_event:
        assert not got[f"grad_{name}"][padding].any()


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_a_row_without_events_keeps_its_state(recurrence: Recurrence) -> None:
    inputs = recurrence.inputs(3, 5, 4)
    _, final = recurrence.op(**inputs, lengths=torch.tensor([0, 5, 0]))
    assert torch.equal(final[[0, 2]], inputs["initial_state"][[0, 2]])
    assert not torch.equal(final[1], inputs["initial_state"][1])


@pytest.mark.parametrize("recurrence", OPERATORS, ids=str)
def test_hidden_behind_a_row_is_its_final_state(recurrence: Recurrence) -> None:
    inputs = recurrence.inputs(2, 6, 4)
    hidden, final = recurrence.op(**inputs, lengths=torch.tensor([0, 4]))
    assert torch.equal(hidden[0], inputs["initial_state"][0].expand(6, -1))
    assert torch.equal(hidden[1, 4:], final[1].expand(2, -1))


@few
@given(scale=st.floats(-3, 3), lengths=ragged)
def test_linear_recurrence_is_linear_in_b_and_the_initial_state(scale: float, lengths: list[int]) -> None:
    rows = {"lengths": torch.tensor(lengths)}
    one = LINEAR_RECURRENCE.inputs(len(lengths), 8, 3)
    other = LINEAR_RECURRENCE.inputs(len(lengths), 8, 3) | {"a": one["a"]}
    both = {name: one[name] + scale * other[name] for name in ("b", "initial_state")} | {"a": one["a"]}
    for got, first, second in zip(
        *(LINEAR_RECURRENCE.op(**inputs, **rows) for inputs in (both, one, other)), strict=True
    ):
        torch.testing.assert_close(got, first + scale * second)


def test_a_of_zero_gives_b_and_of_one_the_running_sum() -> None:
    b = randn(3, 9, 4)
    assert torch.equal(LINEAR_RECURRENCE.op(torch.zeros_like(b), b)[0], b)
    torch.testing.assert_close(LINEAR_RECURRENCE.op(torch.ones_like(b), b)[0], b.cumsum(1))
