"""Collected only with TRITON_INTERPRET=1, which Triton reads while it is imported: tests/kernels/test_interpreter.py
starts this folder in a process of its own. Here the operators run their Triton kernels on CPU tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]
else:
    from deployrec_kernels.bd_lru.op import OPERATOR as BD_LRU
    from deployrec_kernels.gru.op import OPERATOR as GRU
    from deployrec_kernels.linear_recurrence.op import OPERATOR as LINEAR_RECURRENCE
    from triton.runtime import interpreter

    for operator in (LINEAR_RECURRENCE, BD_LRU, GRU):
        operator.use("cpu", "triton")

    def scan_slices(self: Any, inputs: Any) -> list[Any]:
        """The interpreter's scan with one call of combine_fn per slice instead of one per element."""
        arrays = [np.moveaxis(x.handle.data, self.axis, 0) for x in inputs]
        outputs = [np.empty_like(array) for array in arrays]
        state: tuple[Any, ...] = ()
        for step, slices in enumerate(zip(*arrays, strict=True)):
            now = tuple(self.to_tensor(np.ascontiguousarray(s), x.dtype) for s, x in zip(slices, inputs, strict=True))
            state = self.combine_fn.fn(*state, *now) if step else now
            for output, value in zip(outputs, state, strict=True):
                output[step] = value.handle.data
        pairs = zip(outputs, inputs, strict=True)
        return [self.to_tensor(np.ascontiguousarray(np.moveaxis(o, 0, self.axis)), x.dtype) for o, x in pairs]

    interpreter.ScanOps.generic_scan = scan_slices

    @pytest.fixture(autouse=True)
    def unwritten_memory_is_nan() -> Iterator[None]:
        """torch.empty fills with nan, so that an element no kernel wrote is seen."""
        torch.use_deterministic_algorithms(True)
        assert torch.empty(8).isnan().all()
        yield
        torch.use_deterministic_algorithms(False)
