"""Which device to compute on."""

from __future__ import annotations

from typing import get_args

import torch

from deployrec.errors import ConfigError
from deployrec.machine import processor_name
from deployrec.training.config import Device


def device_of(name: str) -> torch.device:
    """The device "cpu" or "cuda"; "auto" takes CUDA where there is any. ConfigError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in get_args(Device) or (name == "cuda" and not torch.cuda.is_available()):
        raise ConfigError(f"expected device auto, cpu or cuda; got '{name}', which is not there; choose another")
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """The GPU's model, or the processor's with the number of threads torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor_name()}, {threads} thread{'s' * (threads > 1)}"
