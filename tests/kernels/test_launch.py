"""How launches are planned, and that the package works without Triton."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from deployrec_kernels.gru.torch_gru import torch_gru
from deployrec_kernels.gru.triton import FEW_ROWS, fits_on_chip
from deployrec_kernels.launch import events, plan
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.kernels.cases import GRU, assert_close, differentiate, loss_weights


def test_many_rows_are_walked_whole_and_one_long_row_in_chunks() -> None:
    state = torch.empty(2048, 128)
    assert plan(torch.empty(2048, 200, 128, device="meta"), state, torch.empty(2048)).chunk == 0
    one = plan(torch.empty(1, 16384, 64, device="meta"), torch.empty(1, 64), torch.empty(1))
    assert one.chunk == 64
    assert one.grid == (256, 1)


@pytest.mark.parametrize(
    ("dtype", "tile"), [(torch.float32, (32, 32)), (torch.bfloat16, (64, 16))], ids=["f32", "bf16"]
)
def test_few_long_rows_are_walked_whole_by_narrower_tiles(dtype: torch.dtype, tile: tuple[int, int]) -> None:
    x, state, lengths = torch.empty(64, 1024, 128, dtype=dtype, device="meta"), torch.empty(64, 128), torch.empty(64)
    walk = plan(x, state, lengths, narrow=True)
    assert (walk.chunk, walk.config["BLOCK_T"], walk.config["BLOCK_D"]) == (0, *tile)
    assert plan(x, state, lengths).chunk
    lone = plan(x[:4], state[:4], lengths[:4], narrow=True)
    assert (lone.chunk, lone.config) == (32, plan(x[:4], state[:4], lengths[:4]).config)


@given(channels=st.integers(1, 700), elements=st.sampled_from([512, 1024]))
def test_tiles_cover_the_channels_and_stay_small(channels: int, elements: int) -> None:
    x = torch.empty(1, 1, channels, device="meta")
    walk = plan(x, torch.empty(1, channels, device="meta"), torch.empty(1), elements=elements)
    block_t, block_d = walk.config["BLOCK_T"], walk.config["BLOCK_D"]
    assert block_t * block_d <= elements
    assert walk.grid[1] * block_d >= channels
    assert (walk.grid[1] - 1) * block_d < channels


def test_events_copies_only_what_no_single_stride_reaches() -> None:
    x = torch.randn(3, 5, 8)
    half, stride = events(x.chunk(2, -1)[1])
    assert half.data_ptr() == x[..., 4:].data_ptr()
    assert stride == 8
    for awkward in (x.transpose(0, 1), x[:, ::2], x[:, :4], x.sum(-1, keepdim=True).expand(3, 5, 8)):
        copy, stride = events(awkward)
        flat = torch.as_strided(copy, (awkward.shape[0] * awkward.shape[1], 8), (stride, 1))
        assert torch.equal(flat.view(awkward.shape), awkward)


@pytest.mark.parametrize(
    ("shared", "dtype", "widest"),
    [
        (232448, torch.float32, 128),
        (166912, torch.float32, 64),
        (101376, torch.float32, 64),
        (166912, torch.bfloat16, 128),
        (232448, torch.float64, 0),
        (1 << 30, torch.bfloat16, 128),
    ],
    ids=["h100 f32", "a100 f32", "rtx4090 f32", "a100 bf16", "f64", "registers end first"],
)
def test_widths_on_chip(shared: int, dtype: torch.dtype, widest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[fits_on_chip.__module__], "shared_memory", lambda _: shared)
    for rows, most in ((1, 128 if dtype == torch.float32 else widest), (FEW_ROWS + 1, widest)):
        gates = {width: torch.empty(rows, 1, 3 * width, dtype=dtype) for width in (8, 64, 65, 128, 129, 256)}
        assert max((width for width in gates if fits_on_chip(gates[width], width)), default=0) == most


@pytest.mark.parametrize("time", [0, 6])
def test_torch_gru_is_the_same_recurrence(time: int) -> None:
    inputs = GRU.inputs(4, time, 5)
    lengths = torch.tensor([time, 0, time // 2, time])
    weights = loss_weights(GRU, inputs)
    expected = differentiate(GRU.reference, inputs, weights, lengths=lengths)
    assert_close(differentiate(torch_gru, inputs, weights, lengths=lengths), expected, 1e-11)


@pytest.mark.parametrize(("precision", "tf32"), [("highest", False), ("high", True)])
def test_torch_gru_rounds_to_tf32_only_where_the_user_allows_it(
    precision: str, tf32: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuDNN would do so unasked; forward and backward look at the flag as they run."""
    seen: list[bool] = []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return grad

    original = torch.gru
    monkeypatch.setattr(torch, "gru", lambda x, *rest, **options: original(Watched.apply(x), *rest, **options))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        inputs = {name: x.float().requires_grad_() for name, x in GRU.inputs(2, 3, 4).items()}
        torch_gru(**inputs, lengths=torch.tensor([3, 2]))[0].sum().backward()
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == [tf32, tf32]
    assert torch.backends.cudnn.allow_tf32


def test_importing_and_running_needs_no_triton() -> None:
    program = """
import sys
sys.modules["triton"] = None  # import and find_spec then report it missing
import torch, deployrec_kernels as dk
x = torch.rand(2, 3, 4, requires_grad=True)
dk.linear_recurrence(x, x)[0].sum().backward()
dk.bd_lru(x, x, x, x[0, 0])[0].sum().backward()
dk.gru(torch.rand(2, 3, 12), torch.rand(12, 4))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
