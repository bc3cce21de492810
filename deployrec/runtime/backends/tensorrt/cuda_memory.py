"""Device memory and a stream through the CUDA driver's own library, which every machine with a GPU has."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from deployrec.errors import ConfigError


class CudaStream:
    """A stream on the first GPU; raises ConfigError where there is none. All calls of one object from one thread."""

    def __init__(self) -> None:
        try:
            self._driver = ctypes.CDLL("libcuda.so.1")
        except OSError:
            raise ConfigError(
                "expected a GPU for TensorRT; got no CUDA driver (libcuda.so.1); use backend 'onnxruntime'"
            ) from None
        count = ctypes.c_int(0)
        if self._driver.cuInit(0) != 0 or self._driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
            raise ConfigError("expected a GPU for TensorRT; got a CUDA driver without one; use backend 'onnxruntime'")
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), ctypes.c_int(0))
        self._context = context
        self.select()
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(1))
        self.handle = stream.value or 0

    def select(self) -> None:
        """Makes the calling thread use the GPU: before the first call of a thread."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> DeviceBuffer:
        """`size` bytes of device memory, freed with the object."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return DeviceBuffer(self, address.value, size)

    def upload(self, buffer: DeviceBuffer, values: np.ndarray) -> None:
        """Copies a C-contiguous array to the start of `buffer`; the array may change as soon as this returns."""
        self._call(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(buffer.address),
            ctypes.c_void_p(values.ctypes.data),
            ctypes.c_size_t(values.nbytes),
            ctypes.c_void_p(self.handle),
        )

    def download(self, values: np.ndarray, buffer: DeviceBuffer) -> None:
        """Fills `values` from the start of `buffer`; they are there after `wait`."""
        self._call(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(values.ctypes.data),
            ctypes.c_uint64(buffer.address),
            ctypes.c_size_t(values.nbytes),
            ctypes.c_void_p(self.handle),
        )

    def wait(self) -> None:
        self._call("cuStreamSynchronize", ctypes.c_void_p(self.handle))

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._driver, function)(*arguments)
        if code != 0:
            raise ConfigError(f"expected the CUDA driver to do {function}; got error {code}; free device memory")


class DeviceBuffer:
    def __init__(self, stream: CudaStream, address: int, size: int) -> None:
        self._stream, self.address, self.size = stream, address, size

    def __del__(self) -> None:
        self._stream._driver.cuMemFree_v2(ctypes.c_uint64(self.address))
