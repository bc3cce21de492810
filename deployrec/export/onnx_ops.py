"""How torch's recurrences become one ONNX node each, of domain `deployrec`.

The node carries the plugin attributes by which TensorRT maps it to the plugin of plugins_trt; what ONNX Runtime
computes for it is its function body (onnx_bodies.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnxscript import opset20
from onnxscript.values import Opset

DOMAIN = "deployrec"
OPSET = 20
_PLUGIN = {"plugin_namespace": "", "plugin_version": "1"}
_NODES = Opset(DOMAIN, 1)
op: Any = opset20


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What `torch.onnx.export(custom_translation_table=...)` needs to write each recurrence as one node."""
    for name, inputs in (
        ("LinearRecurrence", ("a", "b", "initial_state")),
        ("GRURecurrence", ("gates", "recurrent_weight", "initial_state", "lengths")),
    ):
        if not onnx.defs.has(name, DOMAIN):
            onnx.defs.register_schema(_schema(name, inputs))
    ops = torch.ops.deployrec
    return {
        ops.linear_recurrence.default: _linear_recurrence,
        ops.bd_lru.default: _bd_lru,
        ops.gru.default: _gru,
    }


def _linear_recurrence(a: Any, b: Any, initial_state: Any, lengths: Any) -> Any:
    valid = _valid(a, lengths)
    a = op.Where(valid, a, op.Constant(value_float=1.0))
    b = op.Where(valid, b, op.Constant(value_float=0.0))
    return _NODES.LinearRecurrence(a, b, initial_state, **_PLUGIN)


def _bd_lru(x: Any, r: Any, i: Any, lambda_: Any, initial_state: Any, lengths: Any) -> Any:
    one = op.Constant(value_float=1.0)
    rate = op.Mul(op.Softplus(lambda_), op.Sigmoid(r))
    alpha = op.Exp(op.Neg(rate))
    # 1 - alpha^2 = tanh(rate) (1 + alpha^2) keeps the digits that 1 - alpha loses where alpha is nearly 1. Sum, because
    # the exporter's optimiser takes an Add of 1e-8 for an Add of zero and drops it.
    square = op.Mul(op.Tanh(rate), op.Add(one, op.Mul(alpha, alpha)))
    beta = op.Mul(op.Sqrt(op.Sum(square, op.Constant(value_float=1e-8))), op.Sigmoid(i))
    return _linear_recurrence(alpha, op.Mul(beta, x), initial_state, lengths)


def _gru(gates: Any, recurrent_weight: Any, initial_state: Any, lengths: Any) -> Any:
    return _NODES.GRURecurrence(gates, recurrent_weight, initial_state, lengths, **_PLUGIN)


def _valid(x: Any, lengths: Any) -> Any:
    """[B, T, 1], true before each row's end."""
    axis = op.Constant(value_ints=[1])
    events = op.Squeeze(op.Shape(x, start=1, end=2))
    position = op.Range(op.Constant(value_int=0), events, op.Constant(value_int=1))
    return op.Unsqueeze(op.Less(position, op.Unsqueeze(lengths, axis)), op.Constant(value_ints=[2]))


def _schema(name: str, inputs: tuple[str, ...]) -> onnx.defs.OpSchema:
    schema = onnx.defs.OpSchema
    kinds = {"F": "tensor(float)", "I": "tensor(int64)"} if "lengths" in inputs else {"F": "tensor(float)"}
    return schema(
        name,
        DOMAIN,
        1,
        inputs=[schema.FormalParameter(i, "I" if i == "lengths" else "F") for i in inputs],
        outputs=[schema.FormalParameter(o, "F") for o in ("hidden", "final_state")],
        type_constraints=[(kind, [tensor], "") for kind, tensor in kinds.items()],
        attributes=[schema.Attribute(key, schema.AttrType.STRING, required=False) for key in _PLUGIN],
    )
