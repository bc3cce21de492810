"""Which device to compute on."""

from __future__ import annotations

import torch

from deployrec.errors import ConfigError
from deployrec.machine import processor_name


def device_of(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA where there is any. ConfigError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if (
        device is None
        or (device.type == "cuda" and not torch.cuda.is_available())
        or device.type not in ("cpu", "cuda")
    ):
        raise ConfigError(f"expected device auto, cpu or cuda; got '{name}', which is not there; choose another")
    return device


def device_name(device: torch.device) -> str:
    """The GPU's model, or the processor's with the number of threads torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{processor_name()}, {threads} thread{'s' * (threads > 1)}"
