"""Every Triton kernel compiled for GPUs that are not here: nothing spills, and one block's shared memory fits."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)

from deployrec_kernels.bd_lru.triton import bd_lru_backward_triton, bd_lru_triton
from deployrec_kernels.gru.triton import FEW_ROWS, fits_on_chip, gru_backward_triton, gru_triton
from deployrec_kernels.linear_recurrence.triton import linear_recurrence_backward_triton, linear_recurrence_triton

from tests.kernels.aot import SHARED_LIMIT, Launch, recorded_launches, resources

SHAPES = [
    (2048, 200, 128),
    (2048, 200, 64),
    (64, 200, 128),
    (64, 1024, 128),
    (1, 16384, 64),
    (4096, 50, 256),
    (3, 50, 70),
    (2, 9, 500),
]
GRUS = {torch.float32: (16, 40, 64, 128), torch.bfloat16: (64, 128)}


def scan_launches(shape: tuple[int, int, int], dtype: torch.dtype) -> list[Launch]:
    batch, _, channels = shape
    event = torch.empty(shape, dtype=dtype)
    state, lambda_ = torch.empty(batch, channels), torch.empty(channels)
    lengths = torch.empty(batch, dtype=torch.int64)
    with recorded_launches() as launches:
        linear_recurrence_triton(event, event, state, lengths)
        linear_recurrence_backward_triton(event, state, event, event, state, lengths)
        bd_lru_triton(event, event, event, lambda_, state, lengths)
        bd_lru_backward_triton(event, state, event, event, event, lambda_, event, state, lengths)
    return launches


def gru_launches(rows: int, channels: int, dtype: torch.dtype) -> list[Launch]:
    gates, hidden = torch.empty(rows, 5, 3 * channels, dtype=dtype), torch.empty(rows, 5, channels, dtype=dtype)
    weight, state = torch.empty(3 * channels, channels, dtype=dtype), torch.empty(rows, channels)
    lengths = torch.full((rows,), 5)
    with recorded_launches() as launches:
        gru_triton(gates, weight, state, lengths)
        gru_backward_triton(hidden, state, gates, weight, hidden, state, lengths)
    return launches


def gate(launches: Callable[..., list[Launch]], capability: int, *arguments: Any) -> None:
    recorded = launches(*arguments)
    assert recorded
    for launch in recorded:
        used = resources(launch, capability)
        print(f"sm_{capability} {arguments} {used}")
        assert used.stack == 0, f"spills: {used}"
        assert used.shared <= SHARED_LIMIT[capability], f"too much shared memory: {used}"


@pytest.mark.slow
@pytest.mark.parametrize("capability", SHARED_LIMIT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_scans(shape: tuple[int, int, int], dtype: torch.dtype, capability: int) -> None:
    gate(scan_launches, capability, shape, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("capability", SHARED_LIMIT)
@pytest.mark.parametrize(("rows", "precision"), [(1, "highest"), (FEW_ROWS + 1, "highest"), (FEW_ROWS + 1, "high")])
@pytest.mark.parametrize(("dtype", "channels"), [(dtype, width) for dtype, widths in GRUS.items() for width in widths])
def test_gru(
    dtype: torch.dtype, channels: int, rows: int, precision: str, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[fits_on_chip.__module__], "shared_memory", lambda _: SHARED_LIMIT[capability])
    if not fits_on_chip(torch.empty(rows, 1, 3 * channels, dtype=dtype), channels):
        assert (dtype, channels, capability) == (torch.float32, 128, 80)
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        gate(gru_launches, capability, rows, channels, dtype)
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_gate_sees_an_oversized_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployrec_kernels.launch._tile", lambda *_: (64, 128))
    with pytest.raises(AssertionError, match=r"spills|shared memory"):
        gate(scan_launches, 90, (2048, 200, 128), torch.float32)
