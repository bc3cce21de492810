"""How fast are the recurrences, and how near to the memory's speed?

    python benchmarks/kernels.py [--device cuda] [--quick]

Times forward, and forward + backward, of each recurrence beside everything else installed that computes it, in one
run. "of copy" is (bytes the kernel must move / time) / bandwidth of a plain copy on the same machine. Writes
kernels-DEVICE.json and, where matplotlib is installed, a plot beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import (
    UNTRACKED,
    add_out,
    copy_bandwidth,
    machine,
    markdown,
    time_call,
    time_together,
    write_results,
)
from benchmarks.rivals import bd_lru_coefficients, rivals

SHAPES = {
    "cpu": {
        "linear_recurrence": [(128, 200, 128), (1, 4096, 128), (1024, 50, 64)],
        "bd_lru": [(128, 200, 128)],
        "gru": [(128, 200, 128), (16, 200, 64)],
    },
    "cuda": {
        "linear_recurrence": [(2048, 200, 128), (4096, 50, 64), (512, 200, 128), (64, 1024, 128), (1, 16384, 64)],
        "bd_lru": [(2048, 200, 128), (4096, 50, 128), (512, 200, 128), (64, 1024, 128), (1, 16384, 128)],
        "gru": [(2048, 200, 64), (512, 200, 64), (2048, 200, 128), (64, 200, 128)],
    },
}
TENSORS_MOVED = {"linear_recurrence": (3, 5), "bd_lru": (4, 8), "gru": (4, 9)}
"""[B, T, D] tensors a kernel must read and write, forward and backward; the GRU's gates count as three."""


@dataclass(frozen=True)
class Case:
    """One recurrence at one size."""

    recurrence: str
    shape: tuple[int, int, int]
    dtype: torch.dtype
    device: str

    def inputs(self) -> list[Tensor]:
        torch.manual_seed(0)
        batch, time, channels = self.shape
        width = 3 * channels if self.recurrence == "gru" else channels
        events = [torch.randn(batch, time, width, device=self.device, dtype=self.dtype) for _ in range(3)]
        if self.recurrence == "linear_recurrence":
            inputs = [events[0].sigmoid(), events[1]]
        elif self.recurrence == "bd_lru":
            inputs = [*events, torch.linspace(-2.1972, -6.9068, channels, device=self.device)]
        else:
            weight = torch.randn(3 * channels, channels, device=self.device) / channels**0.5
            inputs = [events[0], weight.to(self.dtype)]
        return [x.requires_grad_() for x in inputs]


def measure(case: Case, bandwidth: float) -> list[dict[str, Any]]:
    """One line per implementation: seconds, fraction of the copy's bandwidth, error against float64."""
    inputs = case.inputs()
    batch, time, channels = case.shape
    forward_tensors, backward_tensors = TENSORS_MOVED[case.recurrence]
    tensor_bytes = batch * time * channels * case.dtype.itemsize
    exact = reference(case, inputs)
    grad = torch.randn(batch, time, channels, device=case.device, dtype=case.dtype)
    lines: dict[str, dict[str, Any]] = {}
    forwards: dict[str, Callable[[], object]] = {}
    boths: dict[str, Callable[[], object]] = {}
    for name, function in rivals(case.recurrence, case.device, time, case.dtype):
        forward = partial(_without_gradient, function, inputs)
        both = partial(_with_gradient, function, inputs, grad)
        try:
            error = float((forward().double() - exact).abs().max() / exact.abs().max())
            both()
        except (RuntimeError, NotImplementedError) as reason:
            lines[name] = {"name": name, "failed": str(reason).splitlines()[0]}
            continue
        lines[name] = {"name": name, "error": error}
        forwards[name], boths[name] = forward, both
    for name, timing in time_together(forwards, case.device).items():
        lines[name]["forward"] = timing
        lines[name]["forward_of_copy"] = forward_tensors * tensor_bytes / timing.median / bandwidth
    for name, timing in time_together(boths, case.device).items():
        moved = (forward_tensors + backward_tensors) * tensor_bytes
        lines[name]["forward_backward"] = timing
        lines[name]["forward_backward_of_copy"] = moved / timing.median / bandwidth
    return list(lines.values())


def _without_gradient(function: Callable[..., Tensor], inputs: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return function(*inputs)


def _with_gradient(function: Callable[..., Tensor], inputs: list[Tensor], grad: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(function(*inputs), inputs, grad)


def reference(case: Case, inputs: list[Tensor]) -> Tensor:
    """hidden in float64."""
    import deployrec_kernels as dk

    with torch.no_grad():
        doubles = [x.double() for x in inputs]
        if case.recurrence == "gru":
            return dk.gru(*(x.cpu() for x in doubles))[0].to(case.device)
        a, b = doubles if case.recurrence == "linear_recurrence" else bd_lru_coefficients(*doubles)
        return dk.linear_recurrence(a, b)[0]


def memory_pass(shape: tuple[int, int, int], device: str) -> Callable[[], Tensor]:
    """A plain memory-bound pass for comparison: the product of two tensors of this shape into a third."""
    first, second, out = (torch.ones(shape, device=device) for _ in range(3))
    return lambda: torch.mul(first, second, out=out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="the first size of each recurrence only")
    add_out(parser)
    arguments = parser.parse_args()
    run(arguments.device, arguments.out or UNTRACKED, arguments.quick)


def run(device: str, out: Path, quick: bool = False) -> None:
    """Measures, prints and writes kernels-DEVICE.json and its plot into `out`."""
    bandwidth = copy_bandwidth(device, 1024 if device == "cuda" else 256)
    judged = (2048, 200, 128) if device == "cuda" else (128, 200, 128)
    results: dict[str, Any] = {
        "machine": machine(device),
        "copy_bytes_per_second": bandwidth,
        "memory_pass": {"shape": judged, "timing": time_call(memory_pass(judged, device), device)},
        "cases": [],
    }
    print(f"{results['machine']['device']}: copy {bandwidth / 1e9:.0f} GB/s")
    for recurrence, shapes in SHAPES[device].items():
        for shape in shapes[:1] if quick else shapes:
            for dtype in (torch.float32, torch.bfloat16) if device == "cuda" else (torch.float32,):
                case = Case(recurrence, shape, dtype, device)
                lines = measure(case, bandwidth)
                kind = str(dtype).removeprefix("torch.")
                results["cases"].append({"recurrence": recurrence, "shape": shape, "dtype": kind, "lines": lines})
                print(f"\n{recurrence} B={shape[0]} T={shape[1]} D={shape[2]} {kind}\n{table(lines)}", flush=True)
    path = write_results(f"kernels-{device}", results, out)
    print(f"\n{path}")
    try:
        from benchmarks.plotting import plot_kernels
    except ImportError:
        print("no plot: matplotlib is not installed")
    else:
        print(plot_kernels(results, path.with_suffix(".svg")))


def table(lines: list[dict[str, Any]]) -> str:
    rows = []
    for line in lines:
        if "failed" in line:
            rows.append([line["name"], f"failed: {line['failed']}", "", "", "", ""])
            continue
        rows.append(
            [
                line["name"],
                f"{line['forward'].median * 1e3:.3f}",
                f"{line['forward_of_copy']:.0%}",
                f"{line['forward_backward'].median * 1e3:.3f}",
                f"{line['forward_backward_of_copy']:.0%}",
                f"{line['error']:.1e}",
            ]
        )
    header = ["implementation", "forward ms", "of copy", "forward + backward ms", "of copy", "error"]
    return markdown(header, rows)


if __name__ == "__main__":
    main()
