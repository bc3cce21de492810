"""The GRU's Triton kernels under the interpreter; its bfloat16 products are wrong there, so float32 stands for all."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.cases import GRU
from tests.kernels.kernel_checks import GRUS, ROWS_ALONE, ROWS_SHARED, check, check_views, few_rows, shape_id

each_kernel = pytest.mark.parametrize("most", [ROWS_ALONE, ROWS_SHARED], ids=["a row a block", "rows share a block"])


@each_kernel
@pytest.mark.parametrize("shape", GRUS, ids=shape_id)
def test_float32(shape: tuple[int, int, int], most: int) -> None:
    with few_rows(most):
        check(GRU, shape, torch.float32, "cpu", 1e-4)


@each_kernel
def test_views_are_read_in_place(most: int) -> None:
    with few_rows(most):
        check_views(GRU, "cpu")
