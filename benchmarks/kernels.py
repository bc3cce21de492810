"""How fast are the recurrences, and how near to the memory's speed?

    python benchmarks/kernels.py [--device cuda] [--quick]

Times forward, and forward + backward, of each recurrence beside everything else installed that computes it, in one
run. "of copy" is (bytes the kernel must move / time) / bandwidth of a plain copy on the same machine. Writes
kernels-DEVICE.json and, where matplotlib is installed, a plot beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
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
from benchmarks.rivals import Recurrence, bd_lru_coefficients, compiled_rivals, rivals

SHAPES = {
    "cpu": {
        "linear_recurrence": [(128, 200, 128), (1, 4096, 128), (1024, 50, 64)],
        "bd_lru": [(128, 200, 128)],
        "gru": [(128, 200, 128), (16, 200, 64)],
    },
    "cuda": {
        "linear_recurrence": [(2048, 200, 128), (4096, 50, 64), (512, 200, 128), (64, 1024, 128), (1, 16384, 64)],
        "bd_lru": [(2048, 200, 128), (4096, 50, 128), (512, 200, 128), (64, 1024, 128), (1, 16384, 128)],
        "gru": [(2048, 200, 64), (2048, 200, 128), (512, 200, 64), (512, 200, 128), (64, 200, 64), (64, 200, 128)],
    },
}
COPIED_MIB = {"cpu": 256, "cuda": 4096}
"""Size of the plain copy's buffers: on an H100 those of 1 to 2 GiB copy a fifth slower than larger and smaller ones."""
SECONDS = {"cpu": 0.5, "cuda": 0.1}
"""Of repeats of one call; a GPU's spread is small."""
TENSORS_MOVED = {"linear_recurrence": (3, 5), "bd_lru": (4, 8), "gru": (2, 4)}
"""[B, T, D] tensors that must be read and written, forward and backward, were each whole layer one kernel."""


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
        events = [torch.randn(batch, time, channels, device=self.device, dtype=self.dtype) for _ in range(3)]
        if self.recurrence == "linear_recurrence":
            inputs = [events[0].sigmoid(), events[1]]
        elif self.recurrence == "bd_lru":
            inputs = [*events, torch.linspace(-2.1972, -6.9068, channels, device=self.device)]
        else:
            weights = torch.randn(2, 3 * channels, channels, device=self.device) / channels**0.5
            inputs = [events[0], *weights.to(self.dtype)]
        return [x.requires_grad_() for x in inputs]


def measure(case: Case, bandwidth: float, functions: dict[str, Recurrence]) -> list[dict[str, Any]]:
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
    for name, function in functions.items():
        forward = partial(_without_gradient, function, inputs)
        both = partial(_with_gradient, function, inputs, grad)
        try:
            error = float((forward().double() - exact).abs().max() / exact.abs().max())
            both()
        except Exception as reason:  # of whatever kind a rival's library raises: the others are measured all the same
            lines[name] = {"name": name, "failed": str(reason).splitlines()[0]}
            continue
        lines[name] = {"name": name, "error": error}
        forwards[name], boths[name] = forward, both
    for name, timing in time_together(forwards, case.device, SECONDS[case.device]).items():
        lines[name]["forward"] = timing
        lines[name]["forward_of_copy"] = forward_tensors * tensor_bytes / timing.median / bandwidth
    for name, timing in time_together(boths, case.device, SECONDS[case.device]).items():
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
            x, input_weight, weight = (x.cpu() for x in doubles)
            return dk.gru(x @ input_weight.T, weight)[0].to(case.device)
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
    torch.backends.cudnn.allow_tf32 = False  # cuDNN's GRU would else round float32 products, as ours does not
    bandwidth = copy_bandwidth(device, COPIED_MIB[device])
    judged = (2048, 200, 128) if device == "cuda" else (128, 200, 128)
    results: dict[str, Any] = {
        "machine": machine(device),
        "copy_bytes_per_second": bandwidth,
        "memory_pass": {"shape": judged, "timing": time_call(memory_pass(judged, device), device)},
        "cases": [],
    }
    print(f"{results['machine']['device']}: copy {bandwidth / 1e9:.0f} GB/s")
    for case in cases(device, quick):
        functions = dict(rivals(case.recurrence, device, case.shape[1], case.dtype))
        add(results, measure(case, bandwidth, functions), case, out)
    if device == "cuda":
        for case in cases(device, quick=True):
            functions = dict(compiled_rivals(case.recurrence)) if case.dtype == torch.float32 else {}
            if functions:
                torch._dynamo.reset()
                ours = next(rivals(case.recurrence, device, case.shape[1], case.dtype))
                add(results, measure(case, bandwidth, dict([ours]) | functions), case, out)
    path = write_results(f"kernels-{device}", results, out)
    print(f"\n{path}")
    try:
        from benchmarks.plotting import plot_kernels
    except ImportError:
        print("no plot: matplotlib is not installed")
    else:
        print(plot_kernels(results, path.with_suffix(".svg")))


def cases(device: str, quick: bool) -> Iterator[Case]:
    """Every recurrence, size and type of that device; `quick`: the first size of each."""
    for recurrence, shapes in SHAPES[device].items():
        for shape in shapes[:1] if quick else shapes:
            for dtype in (torch.float32, torch.bfloat16) if device == "cuda" else (torch.float32,):
                yield Case(recurrence, shape, dtype, device)


def add(results: dict[str, Any], lines: list[dict[str, Any]], case: Case, out: Path) -> None:
    """Prints a case and writes everything measured so far."""
    kind = str(case.dtype).removeprefix("torch.")
    results["cases"].append({"recurrence": case.recurrence, "shape": case.shape, "dtype": kind, "lines": lines})
    batch, time, channels = case.shape
    print(f"\n{case.recurrence} B={batch} T={time} D={channels} {kind}\n{table(lines)}", flush=True)
    write_results(f"kernels-{case.device}", results, out)


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
