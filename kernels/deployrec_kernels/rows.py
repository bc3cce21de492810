"""What every recurrence does with its rows: check the arguments, keep the state at padding, pad and pack.

Rows come padded ([B, T, ...] with `lengths` [B]) or packed ([total, ...] with `cu_seqlens` [B + 1]: row b is
`cu_seqlens[b]:cu_seqlens[b + 1]`). At t >= lengths[b] the state is kept; a row of length 0 ends as it started.
"""

from __future__ import annotations

from itertools import pairwise

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
    x: Tensor,
    state_shape: tuple[int, ...],
    initial_state: Tensor | None,
    lengths: Tensor | None,
    cu_seqlens: Tensor | None,
    row_dims: int,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(initial_state, lengths, cu_seqlens) with the defaults filled in: zeros, and every row full.

    x: one input; `row_dims` of its last axes belong to an event, in front of them [B, T] or, with cu_seqlens, [total].
    state_shape: the state of one row. Raises ValueError on a shape, a dtype or a combination that does not fit.
    """
    leading = 1 if cu_seqlens is not None else 2
    if x.dim() != leading + row_dims:
        layout = "[total, ...] with cu_seqlens" if cu_seqlens is not None else "[B, T, ...]"
        raise ValueError(
            f"expected {leading + row_dims} axes, {layout}; got {x.dim()}; "
            f"{'drop the batch axis' if cu_seqlens is not None else 'add the batch axis or pass cu_seqlens'}"
        )
    if cu_seqlens is not None:
        if lengths is not None:
            raise ValueError("expected lengths or cu_seqlens; got both; pass cu_seqlens alone for packed rows")
        _check_integers("cu_seqlens", cu_seqlens, None, x.device)
        batch = cu_seqlens.shape[0] - 1
        cu_seqlens = cu_seqlens.to(torch.int64)
        lengths = cu_seqlens.diff()
    else:
        batch = x.shape[0]
        if lengths is None:
            lengths = torch.full((batch,), x.shape[1], dtype=torch.int64, device=x.device)
        _check_integers("lengths", lengths, batch, x.device)
        lengths = lengths.to(torch.int64)
    dtype = state_dtype(x.dtype)
    if initial_state is None:
        initial_state = x.new_zeros((batch, *state_shape), dtype=dtype)
    elif tuple(initial_state.shape) != (batch, *state_shape):
        raise ValueError(
            f"expected initial_state of shape {[batch, *state_shape]}; got {list(initial_state.shape)}; "
            "give one state per row"
        )
    return initial_state.to(dtype), lengths, cu_seqlens


def _check_integers(name: str, value: Tensor, rows: int | None, device: torch.device) -> None:
    if value.dim() != 1 or value.dtype not in (torch.int64, torch.int32) or value.device != device:
        raise ValueError(
            f"expected {name} as one axis of int64 on {device}; got {list(value.shape)} {value.dtype} on "
            f"{value.device}; convert it"
        )
    if rows is not None and value.shape[0] != rows:
        raise ValueError(f"expected {rows} {name}, one per row; got {value.shape[0]}; give every row one")


def check_rows(lengths: Tensor, cu_seqlens: Tensor | None, size: int) -> None:
    """Raises ValueError where lengths leave [0, T] or cu_seqlens do not cut [0, total]. Reads values: CPU only."""
    if cu_seqlens is None:
        if lengths.numel() and not (int(lengths.min()) >= 0 and int(lengths.max()) <= size):
            raise ValueError(
                f"expected lengths between 0 and T = {size}; got {int(lengths.min())} to {int(lengths.max())}; "
                "count each row's events"
            )
        return
    cuts = cu_seqlens.tolist()
    if cuts[0] != 0 or cuts[-1] != size or any(right < left for left, right in pairwise(cuts)):
        raise ValueError(
            f"expected cu_seqlens rising from 0 to {size}; got {cuts[0]} to {cuts[-1]}; use cumulative lengths"
        )


def padding_mask(lengths: Tensor, time: int, start: int = 0) -> Tensor:
    """[B, time - start, 1] bool, True where an event of [start, time) is padding."""
    return (torch.arange(start, time, device=lengths.device) >= lengths[:, None]).unsqueeze(-1)


def time_blocks(x: Tensor, elements: int = 1 << 18) -> list[slice]:
    """Cuts the time axis of x [B, T, D] into blocks of about `elements`, so that temporaries stay in a CPU's cache."""
    batch, time, channels = x.shape
    size = max(1, min(time, elements // max(1, batch * channels)))
    return [slice(start, min(start + size, time)) for start in range(0, time, size)]


def pad_rows(packed: Tensor, lengths: Tensor) -> Tensor:
    """[total, ...] packed rows -> [B, max(lengths), ...], zeros behind each row."""
    time = int(lengths.max()) if lengths.numel() else 0
    padded = packed.new_zeros((lengths.shape[0], time, *packed.shape[1:]))
    padded[~padding_mask(lengths, time).squeeze(-1)] = packed
    return padded


def pack_rows(padded: Tensor, lengths: Tensor) -> Tensor:
    """[B, T, ...] -> [total, ...]: the rows without their padding."""
    return padded[~padding_mask(lengths, padded.shape[1]).squeeze(-1)]
