"""The item table as a bundle keeps it: float32, float16, or a byte a number with one scale an item."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

DTYPES = ("float32", "float16", "int8")
LARGEST = 127
BLOCK = 2**14
"""Items that are widened at a time: as float32 they stay in the processor's cache."""


@dataclass(frozen=True)
class Table:
    """values [N + 1, D] of one of DTYPES; scales float32 [N + 1, 1], by which int8 values are multiplied, else None."""

    values: np.ndarray
    scales: np.ndarray | None = None

    @classmethod
    def rounded(cls, vectors: np.ndarray, dtype: str) -> Table:
        """The nearest that a table of `dtype` holds to vectors float32 [n, D]."""
        if dtype != "int8":
            return cls(vectors.astype(dtype))
        scales = (np.abs(vectors).max(1, keepdims=True) / LARGEST).astype(np.float32)
        values = np.rint(vectors / np.where(scales > 0, scales, 1)).astype(np.int8)
        return cls(values, scales)

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def dtype(self) -> str:
        return str(self.values.dtype)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """float32 [..., D]: the vectors of rows of any shape."""
        found = self.values.take(rows, axis=0)
        return found if self.dtype == "float32" else self._widened(found, rows)

    def products(self, user: np.ndarray) -> np.ndarray:
        """float32 [B, N + 1]: products of all vectors with user vectors [B, D]."""
        if self.dtype == "float32":
            return (user @ self.values.T).astype(np.float32, copy=False)
        found = np.empty((len(user), len(self)), np.float32)
        for start in range(0, len(self), BLOCK):
            part = slice(start, start + BLOCK)
            np.matmul(user, self.values[part].astype(np.float32).T, out=found[:, part])
        if self.scales is not None:
            found *= self.scales[:, 0]
        return found

    def floats(self) -> np.ndarray:
        """float32 [N + 1, D]: all vectors; the values themselves where they are such."""
        return self.values if self.dtype == "float32" else self._widened(self.values, slice(None))

    def joined(self, other: Table) -> Table:
        """This table with the rows of another of its dtype behind."""
        scales = None if self.scales is None else np.concatenate([self.scales, other.scales])
        return Table(np.concatenate([self.values, other.values]), scales)

    def _widened(self, values: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
        wide = values.astype(np.float32)
        if self.scales is not None:
            wide *= self.scales[rows]
        return wide
