"""What few rows should run: the GRU's kernels by rows, stages and warps, and linear_recurrence by its tile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from deployrec_kernels.gru import triton as gru
from deployrec_kernels.gru import triton_row
from deployrec_kernels.linear_recurrence import triton as scan

from benchmarks.measuring import machine, markdown, time_together, write_results

EVENTS = 200
ROWS = (16, 64, 128, 256, 512, 1024)
STAGES, WARPS = (3, 4, 5), {64: (2, 4, 8), 128: (8,)}
SCAN = (64, 1024, 128)
TILES = ((32, 32), (64, 32), (16, 32), (64, 16), (32, 16), (16, 64), (32, 64), (8, 128))
"""(events, channels) of a tile of one warp."""
SCAN_STAGES = (2, 3, 4, 6)
SECONDS = 0.05


def main(out: Path) -> None:
    """Writes gpu-few-rows.json: milliseconds, forward and backward."""
    cases: dict[str, list[dict[str, Any]]] = {"gru": [], "linear_recurrence": []}
    for name, measured in (("gru", gru_cases()), ("linear_recurrence", scan_cases())):
        for case in measured:
            cases[name].append(case)
            write_results("gpu-few-rows", {"machine": machine("cuda"), **cases}, out)
        print(markdown(list(cases[name][0]), [[str(value) for value in case.values()] for case in cases[name]]))


def gru_cases() -> Iterator[dict[str, Any]]:
    """Both kernels by rows, and the one for few rows by what a launch may choose."""
    for channels in WARPS:
        for rows, (kernel, most) in itertools.product(ROWS, (("few rows", max(ROWS)), ("many rows", 0))):
            with mock.patch.object(gru, "FEW_ROWS", most):
                yield {"rows": rows, "channels": channels, "kernel": kernel} | gru_times(rows, channels)
        config = triton_row._config(channels)
        for warps, stages in itertools.product(WARPS[channels], STAGES):
            chosen = config | {"num_warps": warps, "STAGES": stages}
            with mock.patch.object(triton_row, "_config", lambda _, chosen=chosen: chosen):
                kernel = f"few rows, {warps} warps, {stages} stages"
                yield {"rows": 64, "channels": channels, "kernel": kernel} | gru_times(64, channels)


def gru_times(rows: int, channels: int) -> dict[str, float]:
    weight = torch.randn(3 * channels, channels, device="cuda") / math.sqrt(channels)
    gates = torch.randn(rows, EVENTS, 3 * channels, device="cuda")
    grad, state = torch.randn(rows, EVENTS, channels, device="cuda"), torch.zeros(rows, channels, device="cuda")
    lengths = torch.full((rows,), EVENTS, device="cuda")
    hidden, _ = gru.gru_triton(gates, weight, state, lengths)
    return times(
        lambda: gru.gru_triton(gates, weight, state, lengths),
        lambda: gru.gru_backward_triton(grad, state, gates, weight, hidden, state, lengths),
    )


def scan_cases() -> Iterator[dict[str, Any]]:
    """As it is planned, in chunks, and in one piece by tile and stages."""
    for dtype in (torch.float32, torch.bfloat16):
        kind = str(dtype).removeprefix("torch.")
        yield {"type": kind, "walk": "as planned", "stages": ""} | scan_times(dtype)
        with mock.patch.object(scan, "plan", lambda *a, plan=scan.plan, **_: plan(*a)):
            yield {"type": kind, "walk": "chunks", "stages": ""} | scan_times(dtype)
        for tile, stages in itertools.product(TILES, SCAN_STAGES):
            with tiled(tile, stages):
                yield {"type": kind, "walk": f"{tile[0]} x {tile[1]}", "stages": stages} | scan_times(dtype)


@contextmanager
def tiled(tile: tuple[int, int], stages: int) -> Iterator[None]:
    """While entered, every row is walked in one piece by that tile."""
    with (
        mock.patch("deployrec_kernels.launch._tile", return_value=tile),
        mock.patch.object(scan, "plan", lambda x, s, n, _=None, plan=scan.plan, **__: plan(x, s, n, 0)),
        mock.patch("deployrec_kernels.launch.Walk.stages", return_value=stages),
    ):
        yield


def scan_times(dtype: torch.dtype) -> dict[str, float]:
    a, b, grad = (torch.rand(SCAN, device="cuda").to(dtype) for _ in range(3))
    state = torch.zeros(SCAN[0], SCAN[2], device="cuda")
    lengths = torch.full(SCAN[:1], SCAN[1], device="cuda")
    hidden, _ = scan.linear_recurrence_triton(a, b, state, lengths)
    return times(
        lambda: scan.linear_recurrence_triton(a, b, state, lengths),
        lambda: scan.linear_recurrence_backward_triton(grad, state, a, hidden, state, lengths),
    )


def times(forward: Callable[[], object], backward: Callable[[], object]) -> dict[str, float]:
    """Medians in milliseconds, taken by turns."""
    timings = time_together({"forward": forward, "backward": backward}, "cuda", SECONDS)
    return {name: round(1e3 * timing.median, 4) for name, timing in timings.items()}
