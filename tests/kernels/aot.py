"""Compiles the Triton kernels a call would launch for GPUs that are not here, and reads what each one occupies."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

SHARED_LIMIT = {80: 166912, 90: 232448, 100: 232448}
"""Shared memory one block may use, in bytes, by compute capability."""


@dataclass(frozen=True)
class Launch:
    """One kernel launch as recorded: the kernel, its positional and keyword arguments."""

    kernel: Any
    arguments: dict[str, Any]
    options: dict[str, int]


@dataclass(frozen=True)
class Resources:
    """What one compiled kernel occupies: registers per thread, stack (spilled) and shared bytes, and its warps."""

    kernel: str
    registers: int
    stack: int
    shared: int
    warps: int

    def __str__(self) -> str:
        return (
            f"{self.kernel:24} {self.warps:2} warps {self.registers:4} registers "
            f"{self.stack:5} stack {self.shared:7} shared"
        )


@contextmanager
def recorded_launches() -> Iterator[list[Launch]]:
    """Collects the launches inside instead of running them: CPU tensors stand for GPU tensors."""
    launches: list[Launch] = []

    def record(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        names = [parameter.name for parameter in kernel.params]
        options = {name: value for name, value in kwargs.items() if name not in names}
        given = {name: value for name, value in kwargs.items() if name in names}
        launches.append(Launch(kernel, dict(zip(names, args, strict=False)) | given, options))

    original = triton.JITFunction.run
    triton.JITFunction.run = record
    try:
        yield launches
    finally:
        triton.JITFunction.run = original


def launches_of(call: Callable[..., Any], *arguments: Any) -> list[Launch]:
    """The launches of one call."""
    with recorded_launches() as launches:
        call(*arguments)
    return launches


def compile_for(launch: Launch, capability: int) -> Any:
    """The kernel compiled for that compute capability, specialised as the launcher would specialise it."""
    signature, constants, attributes = {}, {}, {}
    for position, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        if parameter.is_constexpr or value is None:
            signature[parameter.name] = "constexpr"
            constants[parameter.name] = value
            continue
        signature[parameter.name] = _type_name(value)
        size = value.data_ptr() if isinstance(value, torch.Tensor) else value
        if size % 16 == 0 and not parameter.do_not_specialize:
            attributes[(position,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(launch.options))


def resources(launch: Launch, capability: int) -> Resources:
    """Compiles and measures; raises CalledProcessError where the binary cannot be read."""
    compiled = compile_for(launch, capability)
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(compiled.asm["cubin"])
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        command = [str(tool), "--dump-resource-usage", str(binary)]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = (int(re.findall(rf"{name}:(\d+)", usage)[-1]) for name in ("REG", "STACK"))
    return Resources(launch.kernel.__name__, registers, stack, compiled.metadata.shared, compiled.metadata.num_warps)


def _type_name(value: Any) -> str:
    names = {
        torch.float32: "fp32",
        torch.bfloat16: "bf16",
        torch.float64: "fp64",
        torch.int64: "i64",
    }
    return f"*{names[value.dtype]}" if isinstance(value, torch.Tensor) else "i32"
