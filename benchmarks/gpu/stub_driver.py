"""A machine that seems to have an H100, to this process: its first call to CUDA raises FirstCudaCallError.

`install` also hides every package that the GPU machine lacks, so that what runs here has only what it will have there.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

INSTALLED = (
    *("torch", "triton", "numpy", "pytest", "xdist", "hypothesis", "safetensors"),
    *("onnx", "onnxscript", "onnxruntime", "lightning"),
)
"""Modules that the machine has; what their packages need is there too."""
ALONG = "DEPLOYREC_ALONG"
"""Environment variable: modules that come along in wheels, by spaces."""


class FirstCudaCallError(RuntimeError):
    """As far as anything gets without a GPU."""


class Hiding:
    """A finder of modules, and of packages' metadata, that finds only what the machine has."""

    def __init__(self, finder: Any, packages: set[str], hidden: set[str]) -> None:
        self.finder, self.packages, self.hidden = finder, packages, hidden

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        found: ModuleSpec | None = self.finder.find_spec(name, path, target)
        return None if name.split(".")[0] in self.hidden else found

    def find_distributions(self, context: Any) -> Iterator[importlib.metadata.Distribution]:
        for found in getattr(self.finder, "find_distributions", lambda _: ())(context):
            if _plain(found.name) in self.packages:
                yield found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def install() -> None:
    """Hides packages and replaces CUDA's initialisation, in this process; called by the dry run's sitecustomize."""
    owners = importlib.metadata.packages_distributions()
    modules = (*INSTALLED, *os.environ.get(ALONG, "").split())
    there = _with_requirements({package for module in modules for package in owners.get(module, ())})
    hidden = {module for module, packages in owners.items() if not there.intersection(map(_plain, packages))}
    hidden -= {"deployrec", "deployrec_kernels", "deployrec_demo"}
    sys.meta_path[:] = [Hiding(finder, there, hidden) for finder in sys.meta_path]
    import torch

    def first_call() -> None:
        raise FirstCudaCallError("the stub driver was reached")

    torch.cuda._lazy_init = first_call
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 1
    torch.cuda.get_device_capability = lambda device=None: (9, 0)
    # torch.export keeps and restores the GPU's generator even where only the CPU is used.
    torch.cuda.get_rng_state = lambda device="cuda": torch.get_rng_state()
    torch.cuda.set_rng_state = lambda new_state, device="cuda": None


def _with_requirements(packages: set[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(packages)
    while waiting:
        name = _plain(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines if "extra ==" not in line]
    return found


def _plain(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
