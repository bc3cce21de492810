"""The GRU's Triton kernels under the interpreter; its bfloat16 products are wrong there, so float32 stands for all."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.cases import GRU
from tests.kernels.kernel_checks import GRUS, check, check_views, shape_id


@pytest.mark.parametrize("shape", GRUS, ids=shape_id)
def test_float32(shape: tuple[int, int, int]) -> None:
    check(GRU, shape, torch.float32, "cpu", 1e-4)


def test_views_are_read_in_place() -> None:
    check_views(GRU, "cpu")
