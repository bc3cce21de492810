"""How torch's recurrences become one ONNX node each, of domain `deployrec`.

The node carries the plugin attributes by which TensorRT maps it to the plugin of plugins_trt; what ONNX Runtime
computes for it is its function body (onnx_bodies.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import deployrec_kernels  # noqa: F401  (defines the operators)
import onnx
import torch
from onnxscript import opset20
from onnxscript.values import Opset

from deployrec.bundle.nodes import ATTRIBUTES, DOMAIN, GRU_RECURRENCE, LINEAR_RECURRENCE, NODES, Node

OPSET = 20
_DOMAIN = Opset(DOMAIN, 1)
op: Any = opset20


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What `torch.onnx.export(custom_translation_table=...)` needs to write each recurrence as one node."""
    for node in NODES:
        if not onnx.defs.has(node.name, DOMAIN):
            onnx.defs.register_schema(_schema(node))
    ops = torch.ops.deployrec
    return {ops.linear_recurrence.default: _linear_recurrence, ops.gru.default: _gru}


def _linear_recurrence(a: Any, b: Any, initial_state: Any, lengths: Any) -> Any:
    valid = _valid(a, lengths)
    a = op.Where(valid, a, op.Constant(value_float=1.0))
    b = op.Where(valid, b, op.Constant(value_float=0.0))
    return _node(LINEAR_RECURRENCE, a, b, initial_state)


def _gru(gates: Any, recurrent_weight: Any, initial_state: Any, lengths: Any) -> Any:
    return _node(GRU_RECURRENCE, gates, recurrent_weight, initial_state, lengths)


def _node(node: Node, *inputs: Any) -> Any:
    return getattr(_DOMAIN, node.name)(*inputs, **ATTRIBUTES)


def _valid(x: Any, lengths: Any) -> Any:
    """[B, T, 1], true before each row's end."""
    axis = op.Constant(value_ints=[1])
    events = op.Squeeze(op.Shape(x, start=1, end=2))
    position = op.Range(op.Constant(value_int=0), events, op.Constant(value_int=1))
    return op.Unsqueeze(op.Less(position, op.Unsqueeze(lengths, axis)), op.Constant(value_ints=[2]))


def _schema(node: Node) -> onnx.defs.OpSchema:
    schema = onnx.defs.OpSchema
    kinds = {name: "I" if name == "lengths" else "F" for name in (*node.inputs, *node.outputs)}
    types = {"F": "tensor(float)", "I": "tensor(int64)"}
    return schema(
        node.name,
        DOMAIN,
        1,
        inputs=[schema.FormalParameter(name, kinds[name]) for name in node.inputs],
        outputs=[schema.FormalParameter(name, kinds[name]) for name in node.outputs],
        type_constraints=[(kind, [types[kind]], "") for kind in sorted(set(kinds.values()))],
        attributes=[
            *(schema.Attribute(key, schema.AttrType.STRING, required=False) for key in ATTRIBUTES),
            *(schema.Attribute(key, schema.AttrType.INT, required=False) for key in node.sizes),
        ],
    )
