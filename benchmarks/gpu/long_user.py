"""One user with a long history: the chunked kernels against the same kernels walking the row in one piece."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from deployrec_kernels.bd_lru.triton import bd_lru_backward_triton, bd_lru_triton
from deployrec_kernels.linear_recurrence.triton import linear_recurrence_backward_triton, linear_recurrence_triton

from benchmarks.measuring import machine, markdown, time_together, write_results

SIZES = [(1024, 128), (4096, 128), (16384, 64), (16384, 128), (131072, 128)]
"""Events, channels."""


def main(out: Path) -> None:
    """Writes gpu-long-user.json: seconds in one piece and in chunks, and their ratio."""
    cases: list[dict[str, Any]] = []
    for time, channels in SIZES:
        for name, in_chunks, in_one in walks(time, channels):
            timings = time_together({"chunks": in_chunks, "one piece": in_one}, "cuda")
            ratio = timings["one piece"].median / timings["chunks"].median
            cases.append({"kernel": name, "events": time, "channels": channels, "ratio": ratio, **timings})
            write_results("gpu-long-user", {"machine": machine("cuda"), "cases": cases}, out)
    rows = [
        [
            case["kernel"],
            f"{case['events']} x {case['channels']}",
            f"{case['one piece'].median * 1e3:.3f}",
            f"{case['chunks'].median * 1e3:.3f}",
            f"{case['ratio']:.1f}x",
        ]
        for case in cases
    ]
    print(markdown(["kernel", "events x channels", "one piece ms", "chunks ms", "faster"], rows))


def walks(time: int, channels: int) -> list[tuple[str, Callable[[], Any], Callable[[], Any]]]:
    """(kernel, call in chunks, call in one piece)."""
    a, b, x, r, i = (torch.rand(1, time, channels, device="cuda") for _ in range(5))
    lambda_ = torch.linspace(-2.1972, -6.9068, channels, device="cuda")
    state, lengths = torch.zeros(1, channels, device="cuda"), torch.full((1,), time, device="cuda")
    rows = (state, lengths)
    calls: dict[str, Callable[[int | None], Any]] = {
        "linear_recurrence": lambda chunk: linear_recurrence_triton(a, b, *rows, chunk),
        "linear_recurrence backward": lambda chunk: linear_recurrence_backward_triton(b, state, a, x, *rows, chunk),
        "bd_lru": lambda chunk: bd_lru_triton(x, r, i, lambda_, *rows, chunk),
        "bd_lru backward": lambda chunk: bd_lru_backward_triton(b, state, x, r, i, lambda_, a, *rows, chunk),
    }
    return [(name, partial(call, None), partial(call, 0)) for name, call in calls.items()]
