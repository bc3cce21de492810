"""How a launch shares rows among programs: tile sizes, chunks for few channels, and what kernels need of a tensor."""

from __future__ import annotations

import contextlib
import importlib.util
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FEW_PROGRAMS = 128
"""Below this many warps a GPU idles; long rows are then cut into chunks, which read their inputs twice."""
ENOUGH_PROGRAMS = 512
"""Up to this many warps a walk that waits for nothing but memory gains by narrower tiles (measured on an H100)."""
LONG_ROW = 256
"""Rows up to this length are walked faster than three launches take."""


@dataclass(frozen=True)
class Walk:
    """How the programs of a launch share the rows; kernels take `*rows` and `**config`.

    grid: programs along rows (times chunks), and along channels.  chunk: events of a chunk, 0 = whole rows.
    chunks: of a row.
    """

    grid: tuple[int, int]
    chunk: int
    chunks: int
    rows: tuple[Any, ...]
    config: dict[str, Any]

    @property
    def few_warps(self) -> bool:
        """Whether a GPU's multiprocessors get so few warps that each may use what it likes."""
        return self.grid[0] * self.grid[1] < 1024

    def stages(self, itemsize: int) -> int:
        """Tiles in the pipeline: few warps must prefetch further ahead, and so must many that move small elements."""
        if self.few_warps:
            return 4
        return 2 if itemsize >= 4 else 3


def has_triton() -> bool:
    """Whether the Triton compiler is installed; without it CUDA tensors take the stepwise path."""
    return importlib.util.find_spec("triton") is not None


def shared_memory(x: Tensor) -> int:
    """Bytes of shared memory that one block of the tensor's GPU may use; a Hopper's for a tensor on the CPU."""
    if not x.is_cuda:
        return 232448
    properties = torch.cuda.get_device_properties(x.device)
    return int(properties.shared_memory_per_block_optin)  # type: ignore[attr-defined]  # torch's stubs lack it


def device_of(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Makes the tensor's GPU the current one, where kernels are launched."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def plan(
    x: Tensor, state: Tensor, lengths: Tensor, chunk: int | None = None, elements: int = 1024, narrow: bool = False
) -> Walk:
    """Whole rows where they fill a GPU or are short, chunks otherwise.

    x: one input, [B, T, ...]; state: [B, D].  chunk: forces chunks of that many events, 0 whole rows.
    elements: of a [time, channels] tile, 32 to 1 of each lane.  narrow: few rows may get narrower tiles, of more steps.
    """
    batch, channels = state.shape
    time = x.shape[1]
    block_t, block_d = _tile(channels, elements)
    if chunk is None and time > LONG_ROW:
        whole_d = _narrower(block_d, channels, batch, x.itemsize) if narrow else block_d
        chunk = _chunk_size(time) if batch * math.ceil(channels / whole_d) < FEW_PROGRAMS else 0
        if not chunk:
            block_t, block_d = _tile(whole_d, elements)
    chunk = chunk or 0
    blocks = math.ceil(channels / block_d)
    chunks = math.ceil(time / chunk) if chunk else 1
    return Walk(
        grid=(batch * chunks, blocks),
        chunk=chunk,
        chunks=chunks,
        rows=(lengths.contiguous(), time, chunks),
        config={"D": channels, "BLOCK_T": block_t, "BLOCK_D": block_d, "CHUNK": chunk},
    )


def events(x: Tensor) -> tuple[Tensor, int]:
    """x and the elements from one event to the next; copied only where one stride cannot reach every event.

    Halves of a projection ([B, T, 2D] split in two) are read in place.
    """
    if x.stride(-1) == 1 and x.stride(0) == x.shape[1] * x.stride(1):
        return x, x.stride(-2)
    return x.contiguous(), x.shape[-1]


def _chunk_size(time: int) -> int:
    """Near sqrt(T / 2): walking a chunk twice then takes as long as walking the chunks' carries once."""
    return max(32, min(1024, 1 << round(math.log2(math.sqrt(time / 2)))))


def _narrower(width: int, channels: int, batch: int, itemsize: int) -> int:
    """The widest tile that makes programs enough, down to 32 channels, or 16 of elements that take half the bytes."""
    while width > (32 if itemsize >= 4 else 16) and batch * math.ceil(channels / width) < ENOUGH_PROGRAMS:
        width //= 2
    return width


def _tile(channels: int, elements: int) -> tuple[int, int]:
    """(BLOCK_T, BLOCK_D): 128 channels for wide layers; narrow ones take more time steps, so that loads fill a warp."""
    block_d = min(128, 1 << (channels - 1).bit_length())
    return min(64, elements // block_d), block_d
