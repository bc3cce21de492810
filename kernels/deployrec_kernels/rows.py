"""What every recurrence does with its rows: check the arguments, keep the state at padding.

Rows are right-padded, [B, T, ...] with `lengths` [B]. At t >= lengths[b] the state is kept; a row of length 0 ends as
it started.
"""

from __future__ import annotations

import torch
from torch import Tensor


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 inputs keep a float64 state; every other dtype has a float32 state."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def promote(*tensors: Tensor) -> list[Tensor]:
    """The tensors in their widest common dtype (autocast mixes bfloat16 products with float32 factors)."""
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.to(dtype) for tensor in tensors]


def same_shapes(**tensors: Tensor) -> None:
    """Raises ValueError unless all tensors have one shape and one device."""
    (first, reference), *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != reference.shape:
            raise ValueError(
                f"expected {first} and {name} of one shape; got {list(reference.shape)} and {list(tensor.shape)}; "
                f"expand {name} before the call"
            )
        if tensor.device != reference.device:
            raise ValueError(
                f"expected {first} and {name} on one device; got {reference.device} and {tensor.device}; "
                f"move {name} before the call"
            )


def row_arguments(
    x: Tensor, axes: int, state_shape: tuple[int, ...], initial_state: Tensor | None, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(initial_state, lengths) with the defaults filled in: zeros, and every row full.

    x: one input [B, T, ...] of that many axes; state_shape: the state of one row. Raises ValueError on a shape or a
    dtype that does not fit.
    """
    if x.dim() != axes:
        raise ValueError(f"expected {axes} axes, [B, T, ...]; got {x.dim()}; give every row its batch and time axis")
    batch, time = x.shape[:2]
    if lengths is None:
        lengths = torch.full((batch,), time, dtype=torch.int64, device=x.device)
    _check_lengths(lengths, batch, x.device)
    dtype = state_dtype(x.dtype)
    if initial_state is None:
        initial_state = x.new_zeros((batch, *state_shape), dtype=dtype)
    elif tuple(initial_state.shape) != (batch, *state_shape):
        raise ValueError(
            f"expected initial_state of shape {[batch, *state_shape]}; got {list(initial_state.shape)}; "
            "give one state per row"
        )
    return initial_state.to(dtype), lengths.to(torch.int64)


def _check_lengths(lengths: Tensor, batch: int, device: torch.device) -> None:
    if lengths.dim() != 1 or lengths.dtype not in (torch.int64, torch.int32) or lengths.device != device:
        raise ValueError(
            f"expected lengths as one axis of int64 on {device}; got {list(lengths.shape)} {lengths.dtype} on "
            f"{lengths.device}; convert it"
        )
    if lengths.shape[0] != batch:
        raise ValueError(f"expected {batch} lengths, one per row; got {lengths.shape[0]}; give every row one")


def check_lengths(lengths: Tensor, time: int) -> None:
    """Raises ValueError where lengths leave [0, T]. Reads values: CPU only."""
    if lengths.numel() and not (int(lengths.min()) >= 0 and int(lengths.max()) <= time):
        raise ValueError(
            f"expected lengths between 0 and T = {time}; got {int(lengths.min())} to {int(lengths.max())}; "
            "count each row's events"
        )


def padding_mask(lengths: Tensor, time: int, start: int = 0) -> Tensor:
    """[B, time - start, 1] bool, True where an event of [start, time) is padding."""
    return (torch.arange(start, time, device=lengths.device) >= lengths[:, None]).unsqueeze(-1)


def time_blocks(x: Tensor, elements: int = 1 << 18) -> list[slice]:
    """Cuts the time axis of x [B, T, D] into blocks of about `elements`, so that temporaries stay in a CPU's cache."""
    batch, time, channels = x.shape
    size = max(1, min(time, elements // max(1, batch * channels)))
    return [slice(start, min(start + size, time)) for start in range(0, time, size)]
