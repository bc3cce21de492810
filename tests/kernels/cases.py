"""The recurrences as data: operator, reference, random inputs; and the one table of tolerances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import deployrec_kernels as dk
import torch
from deployrec_kernels.bd_lru.reference import bd_lru_reference
from deployrec_kernels.gru.reference import gru_reference
from deployrec_kernels.linear_attention.reference import linear_attention_reference
from deployrec_kernels.linear_recurrence.reference import linear_recurrence_reference
from torch import Tensor

TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 1e-2}
"""max|d| / max|reference| of values and gradients against float64."""
BD_LRU_TOLERANCE = {**TOLERANCE, torch.bfloat16: 2e-2}  # Lambda's gradient is a sum over all events that cancels
GRU_TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 2e-2}


@dataclass(frozen=True)
class Recurrence:
    """One operator under test; `inputs(batch, time, channels)` gives its differentiable float64 arguments by name."""

    name: str
    op: Callable[..., tuple[Tensor, Tensor]]
    reference: Callable[..., tuple[Tensor, Tensor]]
    inputs: Callable[[int, int, int], dict[str, Tensor]]
    per_event: tuple[str, ...]
    tolerance: dict[torch.dtype, float]
    is_operator: bool = True

    def __str__(self) -> str:
        return self.name


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def _linear_recurrence_inputs(batch: int, time: int, channels: int) -> dict[str, Tensor]:
    return {
        "a": torch.rand(batch, time, channels, dtype=torch.float64) * 1.2 - 0.2,
        "b": randn(batch, time, channels),
        "initial_state": randn(batch, channels),
    }


def _bd_lru_inputs(batch: int, time: int, channels: int) -> dict[str, Tensor]:
    events = {name: randn(batch, time, channels) for name in ("x", "r", "i")}
    lambda_ = torch.linspace(-2.1972, -6.9068, channels, dtype=torch.float64)
    return {**events, "lambda_": lambda_, "initial_state": randn(batch, channels)}


def _gru_inputs(batch: int, time: int, channels: int) -> dict[str, Tensor]:
    return {
        "gates": randn(batch, time, 3 * channels),
        "recurrent_weight": randn(3 * channels, channels) / channels**0.5,
        "initial_state": randn(batch, channels).tanh(),
    }


def _linear_attention_inputs(batch: int, time: int, channels: int) -> dict[str, Tensor]:
    heads, width = 2, max(1, channels // 2)
    events = {name: randn(batch, time, heads, width) / width**0.5 for name in ("q", "k", "v")}
    return {**events, "initial_state": randn(batch, heads, width, width)}


LINEAR_RECURRENCE = Recurrence(
    "linear_recurrence",
    dk.linear_recurrence,
    linear_recurrence_reference,
    _linear_recurrence_inputs,
    ("a", "b"),
    TOLERANCE,
)
BD_LRU = Recurrence("bd_lru", dk.bd_lru, bd_lru_reference, _bd_lru_inputs, ("x", "r", "i"), BD_LRU_TOLERANCE)
GRU = Recurrence("gru", dk.gru, gru_reference, _gru_inputs, ("gates",), GRU_TOLERANCE)
LINEAR_ATTENTION = Recurrence(
    "linear_attention",
    dk.linear_attention,
    linear_attention_reference,
    _linear_attention_inputs,
    ("q", "k", "v"),
    TOLERANCE,
    is_operator=False,
)
RECURRENCES = (LINEAR_RECURRENCE, BD_LRU, GRU, LINEAR_ATTENTION)
OPERATORS = tuple(recurrence for recurrence in RECURRENCES if recurrence.is_operator)


def differentiate(
    function: Callable[..., tuple[Tensor, Tensor]], inputs: dict[str, Tensor], weights: tuple[Tensor, ...], **rows: Any
) -> dict[str, Tensor]:
    """hidden, final_state and the gradient of every input for the loss sum(weights * outputs)."""
    leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
    outputs = function(**leaves, **rows)
    loss = torch.stack(
        [(output.double() * weight).sum() for output, weight in zip(outputs, weights, strict=True)]
    ).sum()
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    results = {"hidden": outputs[0].detach(), "final_state": outputs[1].detach()}
    return results | {f"grad_{name}": grad for name, grad in zip(leaves, grads, strict=True)}


def loss_weights(recurrence: Recurrence, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Random float64 weights for (hidden, final_state), so that every output entry has its own gradient."""
    with torch.no_grad():
        hidden, final_state = recurrence.op(**inputs)
        return randn(*hidden.shape).to(hidden.device), randn(*final_state.shape).to(final_state.device)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """max|actual - expected| / max|expected|; nan counts as infinite."""
    if not expected.numel():
        return 0.0
    difference = (actual.double() - expected.double()).abs().max()
    error = float(difference / expected.double().abs().max().clamp_min(1e-30))
    return error if error == error else float("inf")


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Every result within `tolerance` of its reference; the message names all of them."""
    errors = {name: relative_error(actual[name], expected[name]) for name in expected}
    assert max(errors.values()) <= tolerance, f"relative errors above {tolerance}: {errors}"
