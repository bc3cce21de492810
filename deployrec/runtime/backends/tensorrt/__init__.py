"""TensorRT plans, built by `deployrec build engine`."""

from deployrec.runtime.backends.tensorrt.backend import load

__all__ = ["load"]
