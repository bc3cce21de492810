"""The layout of one user's state: the one thing that models, graphs and serving must agree on."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

UNKNOWN_TIME = -1.0
"""Seconds since a user's last event, to a time-aware model, where nobody knows; so are all negative ones."""


@dataclass(frozen=True)
class StateTensor:
    """One state tensor of one user: `name` is "{layer}.{name}", `shape` leaves out the batch axis in front."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def past(self) -> str:
        """Name of the graph input that takes the tensor."""
        return f"past.{self.name}"

    @property
    def present(self) -> str:
        """Name of the graph output that returns it."""
        return f"present.{self.name}"


@dataclass(frozen=True)
class StateSpec:
    """All state tensors of a model, in the order of the graphs' inputs and outputs.

    `exact_up_to` is None where the state carries a history of any length, else the number of newest events
    beyond which a step no longer equals a full encode. A spec without tensors marks a model that can only encode: the
    newest `exact_up_to` events, where it names a number.
    """

    tensors: tuple[StateTensor, ...] = ()
    exact_up_to: int | None = None

    @property
    def floats(self) -> int:
        """Numbers in one user's state."""
        return sum(prod(tensor.shape) for tensor in self.tensors)

    @property
    def bytes(self) -> int:
        """Bytes of one user's state as float32."""
        return 4 * self.floats

    def zeros(self, batch: int) -> dict[str, np.ndarray]:
        """The state of users without events: [batch, ...] by tensor name."""
        return {tensor.name: np.zeros((batch, *tensor.shape), tensor.dtype) for tensor in self.tensors}

    def to_dict(self) -> dict[str, Any]:
        return {
            "exact_up_to": self.exact_up_to,
            "tensors": [{"name": t.name, "shape": list(t.shape), "dtype": t.dtype} for t in self.tensors],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> StateSpec:
        tensors = tuple(StateTensor(t["name"], tuple(t["shape"]), t["dtype"]) for t in data["tensors"])
        return cls(tensors, data["exact_up_to"])
