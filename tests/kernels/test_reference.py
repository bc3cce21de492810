"""Every operator on the CPU against its float64 reference: values and gradients, ragged rows, odd sizes, dtypes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.cases import (
    BD_LRU,
    GRU,
    LINEAR_ATTENTION,
    LINEAR_RECURRENCE,
    RECURRENCES,
    Recurrence,
    assert_close,
    differentiate,
    loss_weights,
)

SHAPES = [(3, 7, 5), (2, 1, 40), (1, 63, 96), (5, 200, 8), (4, 33, 1)]


def compare(recurrence: Recurrence, shape: tuple[int, int, int], dtype: torch.dtype, lengths: list[int] | None) -> None:
    rows = {"lengths": None if lengths is None else torch.tensor(lengths)}
    inputs = {name: x.to(dtype) for name, x in recurrence.inputs(*shape).items()}
    exact = {name: x.double() for name, x in inputs.items()}
    weights = loss_weights(recurrence, exact)
    expected = differentiate(recurrence.reference, exact, weights, **rows)
    assert_close(differentiate(recurrence.op, inputs, weights, **rows), expected, recurrence.tolerance[dtype])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=["f64", "f32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES, ids="B{0[0]}-T{0[1]}-D{0[2]}".format)
@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_values_and_gradients(recurrence: Recurrence, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    compare(recurrence, shape, dtype, None)
    compare(recurrence, shape, dtype, torch.randint(0, shape[1] + 1, (shape[0],)).tolist())


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), time=st.integers(0, 9), channels=st.integers(1, 4), seed=st.integers(0, 9))
def test_any_ragged_batch(recurrence: Recurrence, data: st.DataObject, time: int, channels: int, seed: int) -> None:
    torch.manual_seed(seed)
    lengths = data.draw(st.lists(st.integers(0, time), min_size=1, max_size=4))
    compare(recurrence, (len(lengths), time, 2 * channels), torch.float64, lengths)


def test_slow_decay_keeps_float32_precision() -> None:
    torch.manual_seed(0)
    inputs = BD_LRU.inputs(2, 100, 4)
    inputs["lambda_"] = torch.full((4,), -13.0, dtype=torch.float64)
    inputs = {name: x.float() for name, x in inputs.items()}
    exact = {name: x.double() for name, x in inputs.items()}
    weights = loss_weights(BD_LRU, exact)
    expected = differentiate(BD_LRU.reference, exact, weights)
    assert_close(differentiate(BD_LRU.op, inputs, weights), expected, 1e-5)


def test_the_definitions_are_those_of_the_papers() -> None:
    """The references loop over the steps; here the formulas are written again, as published, for one event."""
    torch.manual_seed(0)
    inputs = BD_LRU.inputs(3, 1, 4)
    alpha = torch.exp(-torch.nn.functional.softplus(inputs["lambda_"]) * torch.sigmoid(inputs["r"][:, 0]))
    beta = torch.sqrt((1 - alpha) * (1 + alpha) + 1e-8) * torch.sigmoid(inputs["i"][:, 0])
    expected = alpha * inputs["initial_state"] + beta * inputs["x"][:, 0]
    torch.testing.assert_close(BD_LRU.reference(**inputs)[1], expected, rtol=1e-13, atol=0)

    inputs = LINEAR_RECURRENCE.inputs(3, 1, 4)
    expected = inputs["a"][:, 0] * inputs["initial_state"] + inputs["b"][:, 0]
    torch.testing.assert_close(LINEAR_RECURRENCE.reference(**inputs)[1], expected)

    inputs = GRU.inputs(3, 1, 4)
    cell = torch.nn.GRUCell(12, 4, bias=False, dtype=torch.float64)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.eye(12))
        cell.weight_hh.copy_(inputs["recurrent_weight"])
        expected = cell(inputs["gates"][:, 0], inputs["initial_state"])
    torch.testing.assert_close(GRU.reference(**inputs)[1], expected)

    inputs = LINEAR_ATTENTION.inputs(3, 1, 8)
    q, k, v = (inputs[name][:, 0] for name in ("q", "k", "v"))
    state = inputs["initial_state"] + torch.einsum("bhi,bhj->bhij", k, v)
    out, final = LINEAR_ATTENTION.reference(**inputs)
    torch.testing.assert_close(final, state)
    torch.testing.assert_close(out[:, 0], torch.einsum("bhi,bhij->bhj", q, state))
