"""The real Triton kernels: the interpreter's table at full size, bfloat16, and more than 2^31 elements."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.cases import BD_LRU, GRU, LINEAR_RECURRENCE, OPERATORS, RECURRENCES, Recurrence
from tests.kernels.kernel_checks import (
    CHUNKED,
    GRUS,
    ROWS_ALONE,
    ROWS_SHARED,
    SCANS,
    check,
    check_views,
    chunks_of,
    few_rows,
    shape_id,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

LARGE = [(64, 200, 128), (64, 300, 128), (300, 63, 500), (1, 5000, 64), (1, 16384, 1)]
LARGE_GRUS = [(100, 200, 64), (33, 50, 40), (2, 300, 16)]
BF16 = torch.bfloat16


@pytest.fixture(autouse=True)
def unwritten_memory_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs start as nan, so that an element no kernel wrote is seen."""
    empty, empty_like = torch.empty, torch.empty_like
    monkeypatch.setattr(torch, "empty", lambda *a, **k: _poison(empty(*a, **k)))
    monkeypatch.setattr(torch, "empty_like", lambda *a, **k: _poison(empty_like(*a, **k)))


@torch.no_grad()  # torch.compile makes its examples by torch.empty too, some with requires_grad
def _poison(x: torch.Tensor) -> torch.Tensor:
    return x.fill_(torch.nan) if x.is_floating_point() and x.is_cuda else x


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-11), (torch.float32, 1e-5), (BF16, 2e-2)],
    ids=["f64", "f32", "bf16"],
)
@pytest.mark.parametrize("shape", [*SCANS, *LARGE], ids=shape_id)
@pytest.mark.parametrize("recurrence", [LINEAR_RECURRENCE, BD_LRU], ids=str)
def test_scans(recurrence: Recurrence, shape: tuple[int, int, int], dtype: torch.dtype, tolerance: float) -> None:
    if (recurrence, dtype) == (BD_LRU, BF16) and shape[2] == 1:
        tolerance = 5e-2  # a single channel's largest gradient is small beside the rounding of its inputs
    check(recurrence, shape, dtype, "cuda", tolerance)


@pytest.mark.parametrize("shape", CHUNKED, ids=shape_id)
@pytest.mark.parametrize("recurrence", [LINEAR_RECURRENCE, BD_LRU], ids=str)
def test_chunks(recurrence: Recurrence, shape: tuple[int, int, int, int]) -> None:
    with chunks_of(shape[3]):
        check(recurrence, shape[:3], torch.float32, "cuda", 1e-5)


@pytest.mark.parametrize(
    ("precision", "dtype", "most", "tolerance"),
    [
        ("highest", torch.float32, ROWS_ALONE, 1e-5),
        ("highest", torch.float32, ROWS_SHARED, 1e-4),
        ("high", torch.float32, ROWS_SHARED, 5e-3),
        ("highest", BF16, ROWS_SHARED, 2e-2),
    ],
    ids=["f32 alone", "f32", "tf32", "bf16"],
)
@pytest.mark.parametrize("shape", [*GRUS, *LARGE_GRUS], ids=shape_id)
def test_gru(shape: tuple[int, int, int], precision: str, dtype: torch.dtype, most: int, tolerance: float) -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        with few_rows(most):
            check(GRU, shape, dtype, "cuda", tolerance)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("most", [ROWS_ALONE, ROWS_SHARED])
@pytest.mark.parametrize(
    ("width", "dtype", "tolerance"),
    [
        (128, BF16, 2e-2),
        (96, torch.float32, 1e-4),
        (128, torch.float32, 1e-4),
        (160, torch.float32, 1e-4),
        (200, BF16, 5e-2),
    ],
)
def test_gru_widths_on_and_off_chip(width: int, dtype: torch.dtype, tolerance: float, most: int) -> None:
    with few_rows(most):
        check(GRU, (20, 50, width), dtype, "cuda", tolerance)


@pytest.mark.parametrize("recurrence", OPERATORS, ids=str)
def test_views_are_read_in_place(recurrence: Recurrence) -> None:
    check_views(recurrence, "cuda")


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_bfloat16_autocast_trains(recurrence: Recurrence) -> None:
    inputs = {name: x.float().cuda().requires_grad_() for name, x in recurrence.inputs(8, 30, 32).items()}
    last = recurrence.per_event[-1]
    weight = torch.eye(inputs[last].shape[-1], device="cuda", requires_grad=True)
    with torch.autocast("cuda", torch.bfloat16):
        hidden, final = recurrence.op(**(inputs | {last: inputs[last] @ weight}))
        (hidden.float().square().mean() + final.square().mean()).backward()
    assert final.dtype == torch.float32
    for x in (*inputs.values(), weight):
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert x.grad.any()


def test_compiles_with_inductor() -> None:
    compiled = torch.compile(BD_LRU.op, fullgraph=True, dynamic=True)
    for time in (20, 33):
        inputs = {name: x.float().cuda() for name, x in BD_LRU.inputs(4, time, 32).items()}
        torch.testing.assert_close(compiled(**inputs), BD_LRU.op(**inputs))


def test_more_than_2_to_the_31_elements() -> None:
    free = torch.cuda.mem_get_info()[0] >> 30
    if free < 20:
        pytest.skip(f"needs 20 GiB of GPU memory; {free} are free")
    rows, time, channels = 2**31 // (256 * 128) + 8, 256, 128
    b = torch.ones(rows, time, channels, device="cuda")
    hidden, final = LINEAR_RECURRENCE.op(b, b)
    expected = torch.arange(1.0, time + 1, device="cuda")[:, None].expand(time, channels)
    for row in (0, rows // 2, rows - 1):
        assert torch.equal(hidden[row], expected)
    assert (final == time).all()
