"""linear_recurrence's Triton kernels under the interpreter."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.cases import LINEAR_RECURRENCE
from tests.kernels.kernel_checks import CHUNKED, SCANS, check, check_views, chunks_of, shape_id


@pytest.mark.parametrize("shape", SCANS, ids=shape_id)
def test_float64_to_the_last_digits(shape: tuple[int, int, int]) -> None:
    check(LINEAR_RECURRENCE, shape, torch.float64, "cpu", 1e-11)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=["f32", "bf16"])
@pytest.mark.parametrize("shape", [(3, 9, 40), (2, 25, 128)], ids=shape_id)
def test_dtypes(shape: tuple[int, int, int], dtype: torch.dtype, tolerance: float) -> None:
    check(LINEAR_RECURRENCE, shape, dtype, "cpu", tolerance)


@pytest.mark.parametrize("shape", CHUNKED, ids=shape_id)
def test_chunks(shape: tuple[int, int, int, int]) -> None:
    with chunks_of(shape[3]):
        check(LINEAR_RECURRENCE, shape[:3], torch.float64, "cpu", 1e-11)


def test_views_are_read_in_place() -> None:
    check_views(LINEAR_RECURRENCE, "cpu")
