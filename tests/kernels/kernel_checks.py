"""What a kernel must show, whatever runs it: the same checks for the interpreter and for a GPU."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from unittest import mock

import torch
from torch import Tensor

from tests.kernels.cases import Recurrence, assert_close, differentiate, randn

SCANS = [
    # B, T, D: odd widths; T = 1; lengths around a tile of 8 steps
    (3, 1, 1),
    (2, 63, 1),
    (3, 9, 40),
    (2, 17, 70),
    (2, 8, 96),
    (2, 25, 128),
    (1, 7, 500),
]
GRUS = [(3, 1, 1), (17, 5, 40), (2, 9, 64)]
CHUNKED = [(1, 70, 40, 32), (3, 41, 5, 8)]
"""B, T, D, chunk."""
ROWS_ALONE, ROWS_SHARED = 256, 0
"""Up to so many float32 rows a block walks one alone: the kernels for few rows, and those for many."""


def shape_id(shape: tuple[int, ...]) -> str:
    return "-".join(f"{letter}{size}" for letter, size in zip("BTDC", shape, strict=False))


def check(
    recurrence: Recurrence, shape: tuple[int, int, int], dtype: torch.dtype, device: str, tolerance: float
) -> None:
    """Values and gradients against float64 on ragged rows, with nan in every padded event."""
    torch.manual_seed(0)
    batch, time, _ = shape
    inputs = {name: x.to(device, dtype) for name, x in recurrence.inputs(*shape).items()}
    lengths = torch.randint(0, time + 1, (batch,), device=device)
    lengths[0] = time
    exact = {name: x.double() for name, x in inputs.items()}
    weights = _weights(recurrence, exact)
    expected = differentiate(recurrence.reference, exact, weights, lengths=lengths)
    for name in recurrence.per_event:
        inputs[name][torch.arange(time, device=device) >= lengths[:, None]] = torch.nan
    assert_close(differentiate(recurrence.op, inputs, weights, lengths=lengths), expected, tolerance)


def few_rows(most: int) -> AbstractContextManager[object]:
    """While entered, so many float32 rows of the GRU count as few."""
    return mock.patch.object(importlib.import_module("deployrec_kernels.gru.triton"), "FEW_ROWS", most)


def chunks_of(size: int) -> AbstractContextManager[object]:
    """While entered, every walk goes through chunks of that many events."""
    return mock.patch.multiple("deployrec_kernels.launch", LONG_ROW=0, _chunk_size=lambda _: size)


def check_views(recurrence: Recurrence, device: str) -> None:
    """Halves of a projection and an expanded gradient give what copies give."""
    torch.manual_seed(0)
    inputs = {name: x.float().to(device) for name, x in recurrence.inputs(2, 5, 6).items()}
    views = dict(inputs)
    for name in recurrence.per_event:
        views[name] = torch.cat((inputs[name], torch.full_like(inputs[name], torch.nan)), -1).chunk(2, -1)[0]
        assert not views[name].is_contiguous()
    results = []
    for given in (inputs, views):
        leaves = [x.detach().requires_grad_() for x in given.values()]
        hidden, final = recurrence.op(*leaves)
        results.append((hidden, final, *torch.autograd.grad(hidden.sum() + final.sum(), leaves)))
    for copied, viewed in zip(*results, strict=True):
        torch.testing.assert_close(viewed, copied)


def _weights(recurrence: Recurrence, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        hidden, final = (randn(*output.shape).to(output.device) for output in recurrence.reference(**inputs))
    return hidden, final
