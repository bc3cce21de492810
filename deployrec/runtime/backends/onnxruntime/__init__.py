"""ONNX Runtime, on the CPU or a CUDA GPU."""

from deployrec.runtime.backends.onnxruntime.backend import load

__all__ = ["load"]
