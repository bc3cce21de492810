"""ONNX Runtime, on the CPU or a CUDA GPU."""

from deployrec.errors import ConfigError
from deployrec.files import first_line

try:
    from deployrec.runtime.backends.onnxruntime.backend import load
except ImportError as error:
    raise ConfigError(
        f"expected ONNX Runtime to serve a bundle; got none that can be imported ({first_line(error)}); "
        'run pip install "deployrec[cpu]", or "deployrec[gpu]" where there is a CUDA GPU'
    ) from None

__all__ = ["load"]
