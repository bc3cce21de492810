"""Which machine and which versions a report comes from."""

from __future__ import annotations

import os
import platform
from importlib.metadata import distributions
from typing import Any

import torch

from deployrec.machine import processor_name

PACKAGES = ("deployrec", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "torch")


def machine() -> dict[str, Any]:
    """Processor, its usable cores, memory in bytes, system, and the GPU's name where torch sees one."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": gpu,
    }


def versions() -> dict[str, str]:
    """Python and the installed packages that a latency depends on."""
    installed = {distribution.name: distribution.version for distribution in distributions()}
    return {"python": platform.python_version()} | {name: installed[name] for name in PACKAGES if name in installed}
