"""What a graph of a bundle takes and gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GraphTensor:
    """One input or output of a graph; symbolic axes are names ("B", "T", "E", "K")."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    file: str
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
