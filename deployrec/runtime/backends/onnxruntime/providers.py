"""Which execution providers of ONNX Runtime can really load here: naming another one prints CUDA errors."""

from __future__ import annotations

import contextlib
import ctypes
import io

import onnxruntime

from deployrec.errors import ConfigError

Provider = str | tuple[str, dict[str, str]]
CUDA: Provider = ("CUDAExecutionProvider", {"use_tf32": "0"})
"""TF32 products, its default, keep 10 bits of a float32: graphs would miss their own certificate."""


def onnxruntime_providers(device: str) -> list[Provider]:
    """Providers for device "cpu" or "cuda"; raises ConfigError where CUDA cannot be used."""
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if device != "cuda":
        raise ConfigError(f"expected device 'cpu' or 'cuda'; got '{device}'; name one of them")
    reason = why_no_cuda()
    if reason:
        raise ConfigError(f"expected a CUDA device for ONNX Runtime; got {reason}; use device 'cpu'")
    return [CUDA, "CPUExecutionProvider"]


def why_no_cuda() -> str:
    """Empty where the CUDA provider can load, else the reason: no such provider, no driver, no GPU, no libraries."""
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "an onnxruntime without the CUDA provider (onnxruntime-gpu has it)"
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no CUDA driver (libcuda.so.1)"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "a CUDA driver without a GPU"
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()
    major = str(onnxruntime.cuda_version).split(".")[0]
    for library in (f"libcublasLt.so.{major}", f"libcudart.so.{major}", "libcudnn.so.9"):
        try:
            ctypes.CDLL(library)
        except OSError:
            return f"no {library}"
    return ""
