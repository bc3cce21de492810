"""The same recurrences computed by what else there is: eager torch, log-depth doubling, torch's and others' scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import deployrec_kernels as dk
import torch
import torch.nn.functional as F
from torch import Tensor

Recurrence = Callable[..., Tensor]
"""Per-event inputs [B, T, ...] and parameters -> hidden [B, T, D], from a zero state."""


def rivals(recurrence: str, device: str, time: int, dtype: torch.dtype) -> Iterator[tuple[str, Recurrence]]:
    """(name, function) of everything installed that computes `recurrence` on this device; ours first."""
    yield from {"linear_recurrence": _linear_rivals, "bd_lru": _bd_lru_rivals, "gru": _gru_rivals}[recurrence](
        device, time, dtype
    )


def compiled_rivals(recurrence: str) -> Iterator[tuple[str, Recurrence]]:
    """As `rivals`, what torch.compile makes on a GPU of the same recurrence; each takes many seconds to compile.

    Compile one size at a time: torch.compile gives up after a few sizes unless dynamo is reset between them.
    """
    scans = {"torch.compile doubling": doubling, "torch associative_scan": associative_scan("pointwise")}
    compiled = {name: torch.compile(scan, dynamic=False) for name, scan in scans.items()}
    if recurrence == "linear_recurrence":
        yield from compiled.items()
    elif recurrence == "bd_lru":
        coefficients = torch.compile(bd_lru_coefficients, dynamic=False)
        scans = {"deployrec scan": lambda a, b: dk.linear_recurrence(a, b)[0], **compiled}
        for name, scan in scans.items():
            yield f"compiled gates + {name}", lambda *inputs, scan=scan: scan(*coefficients(*inputs))


def eager(a: Tensor, b: Tensor) -> Tensor:
    """One multiply-add per step on slices, stacked at the end."""
    state, states = torch.zeros_like(b[:, 0]), []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        state = a_t * state + b_t
        states.append(state)
    return torch.stack(states, 1)


def eager_slicing(a: Tensor, b: Tensor) -> Tensor:
    """As written first: x[:, t] in a loop. The gradient of every slice is a full tensor of zeros around it."""
    state, states = torch.zeros_like(b[:, 0]), []
    for t in range(b.shape[1]):
        state = a[:, t] * state + b[:, t]
        states.append(state)
    return torch.stack(states, 1)


def doubling(a: Tensor, b: Tensor) -> Tensor:
    """Hillis and Steele: log2(T) passes over the whole tensor, any T."""
    shift = 1
    while shift < b.shape[1]:
        b = torch.cat((b[:, :shift], torch.addcmul(b[:, shift:], a[:, shift:], b[:, :-shift])), 1)
        a = torch.cat((a[:, :shift], a[:, shift:] * a[:, :-shift]), 1)
        shift *= 2
    return b


def power_of_two(time: int) -> int:
    return 1 << (time - 1).bit_length()


def bd_lru_coefficients(x: Tensor, r: Tensor, i: Tensor, lambda_: Tensor) -> tuple[Tensor, Tensor]:
    """RecBLR's gates as torch writes them: (alpha, beta x)."""
    alpha = torch.exp(-F.softplus(lambda_) * torch.sigmoid(r))
    return alpha, torch.sqrt((1 - alpha) * (1 + alpha) + 1e-8) * torch.sigmoid(i) * x


def _linear_rivals(device: str, time: int, dtype: torch.dtype) -> Iterator[tuple[str, Recurrence]]:
    yield "deployrec", lambda a, b: dk.linear_recurrence(a, b)[0]
    if device == "cpu" or time <= 2048:
        yield "torch eager, unbound once", eager
    if time <= 200:
        yield "torch eager, slicing", eager_slicing
    yield "torch doubling", doubling
    if device == "cpu":
        yield "torch associative_scan", associative_scan("generic")
        return
    if dtype == torch.float32:
        yield from _accelerated_scan()
    yield from _flash_linear_attention()


def _bd_lru_rivals(device: str, time: int, dtype: torch.dtype) -> Iterator[tuple[str, Recurrence]]:
    yield "deployrec", lambda *inputs: dk.bd_lru(*inputs)[0]
    yield "torch gates + deployrec scan", lambda *inputs: dk.linear_recurrence(*bd_lru_coefficients(*inputs))[0]
    for name, scan in _linear_rivals(device, time, dtype):
        if name not in ("deployrec", "torch eager, slicing"):
            yield f"torch gates + {name}", lambda *inputs, scan=scan: scan(*bd_lru_coefficients(*inputs))


def _gru_rivals(device: str, time: int, dtype: torch.dtype) -> Iterator[tuple[str, Recurrence]]:
    """The whole layer, its input product included: torch's GRU offers no less."""
    yield "deployrec", lambda x, input_weight, weight: dk.gru(F.linear(x, input_weight), weight)[0]
    yield "torch GRU" if device == "cpu" else "cuDNN GRU", torch_layer


def torch_layer(x: Tensor, input_weight: Tensor, weight: Tensor) -> Tensor:
    """torch's GRU layer without biases, from a zero state: cuDNN's on a GPU."""
    state = x.new_zeros(1, x.shape[0], weight.shape[1])
    weights = (input_weight, weight)
    return torch.gru(x, state, weights, False, 1, 0.0, torch.is_grad_enabled(), False, True)[0]


def associative_scan(mode: str) -> Recurrence:
    """torch's own scan operator; combine_mode "pointwise" needs a GPU and torch.compile."""
    from torch._higher_order_ops import associative_scan as scan

    def combine(first: tuple[Tensor, Tensor], then: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return first[0] * then[0], then[0] * first[1] + then[1]

    return lambda a, b: scan(combine, (a, b), 1, combine_mode=mode)[1]


def _accelerated_scan() -> Iterator[tuple[str, Recurrence]]:
    """float32, [B, D, T] with T a power of two: transposed and padded outside the timed kernel would be a favour."""
    try:
        from accelerated_scan.warp import scan
    except (ImportError, OSError, RuntimeError):
        return

    def padded(a: Tensor, b: Tensor) -> Tensor:
        time = a.shape[1]
        room = (0, power_of_two(time) - time)
        a, b = (F.pad(x.transpose(1, 2), room).contiguous() for x in (a, b))
        return scan(a, b)[..., :time].transpose(1, 2)

    yield "accelerated-scan (padded, transposed)", padded


def _flash_linear_attention() -> Iterator[tuple[str, Recurrence]]:
    try:
        from fla.ops.hgrn import fused_recurrent_hgrn
    except (ImportError, OSError, RuntimeError):
        return
    yield "flash-linear-attention hgrn", lambda a, b: fused_recurrent_hgrn(b, a.log())[0]
