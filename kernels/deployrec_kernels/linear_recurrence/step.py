"""One event of the recurrence; T of them are `linear_recurrence`."""

from __future__ import annotations

from torch import Tensor


def linear_recurrence_step(a: Tensor, b: Tensor, state: Tensor) -> Tensor:
    """h = a * state + b; all [B, D]."""
    return a * state + b
