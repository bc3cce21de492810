"""The recurrences' nodes in encode.onnx: one table for the exporter, the nodes' bodies and TensorRT's plugins."""

from __future__ import annotations

from dataclasses import dataclass

DOMAIN = "deployrec"
PLUGIN_VERSION = "1"
ATTRIBUTES = {"plugin_namespace": "", "plugin_version": PLUGIN_VERSION}
"""By these TensorRT finds a plugin for the node, and prefers it to the node's body."""


@dataclass(frozen=True)
class Node:
    """One kind of node; tensors are float32, but `lengths`, int64. `sizes` are attributes, int, of its body alone."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ("hidden", "final_state")
    sizes: tuple[str, ...] = ()


LINEAR_RECURRENCE = Node("LinearRecurrence", ("a", "b", "initial_state"))
GRU_RECURRENCE = Node(
    "GRURecurrence", ("gates", "recurrent_weight", "initial_state", "lengths"), sizes=("hidden_size",)
)
NODES = (LINEAR_RECURRENCE, GRU_RECURRENCE)
