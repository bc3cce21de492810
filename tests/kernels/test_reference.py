"""Every operator on the CPU against its float64 reference: values and gradients, ragged rows, odd sizes, dtypes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.cases import (
    BD_LRU,
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
