"""What ONNX Runtime computes for a recurrence node: model-local function bodies of standard operators."""

from __future__ import annotations

import onnx
from onnx import parser

from deployrec.bundle.nodes import ATTRIBUTES, DOMAIN, GRU_RECURRENCE, LINEAR_RECURRENCE, NODES, Node


def add_bodies(model: onnx.ModelProto) -> None:
    """Gives every kind of recurrence node its body, after the export: the exporter would inline one given before.

    Nodes of one kind share a body; the sizes it needs are attributes of each node.
    """
    found = [node for node in model.graph.node if node.domain == DOMAIN]
    for kind in NODES:
        nodes = [node for node in found if node.op_type == kind.name]
        if nodes:
            model.functions.append(_function(kind))
        for node in nodes if kind.sizes else ():
            hidden_size = _shape(model.graph, node.output[kind.outputs.index("final_state")])[-1]
            node.attribute.append(onnx.helper.make_attribute("hidden_size", hidden_size))


def _function(kind: Node) -> onnx.FunctionProto:
    return parser.parse_function(
        f'<opset_import: ["" : 20], domain: "{DOMAIN}"> {kind.name} <{", ".join((*ATTRIBUTES, *kind.sizes))}> '
        f"({', '.join(kind.inputs)}) => ({', '.join(kind.outputs)}) {_BODIES[kind]}"
    )


def _shape(graph: onnx.GraphProto, name: str) -> list[int]:
    """The shape that the exporter recorded for a value; 0 for a dynamic axis."""
    (value,) = (value for value in (*graph.value_info, *graph.output) if value.name == name)
    return [axis.dim_value for axis in value.type.tensor_type.shape.dim]


_LINEAR_RECURRENCE = """
{
  final_state, hidden = Scan <num_scan_inputs = 2, scan_input_axes = [1, 1], scan_output_axes = [1],
    body = step (float[B, D] state, float[B, D] a_t, float[B, D] b_t) => (float[B, D] next, float[B, D] out)
    {
      decayed = Mul (a_t, state)
      next = Add (decayed, b_t)
      out = Identity (next)
    }> (initial_state, a, b)
}
"""

# In batches below 8 ONNX Runtime's GRU beats a Scan, though it must multiply the gates by an identity matrix.
_GRU_RECURRENCE = """
{
  batch = Shape <start = 0, end = 1> (gates)
  scan_from = Constant <value = int64[1] {8}> ()
  first = Constant <value = int64[1] {0}> ()
  second = Constant <value = int64[1] {1}> ()
  third = Constant <value = int64[1] {2}> ()
  many = GreaterOrEqual (batch, scan_from)
  is_many = Squeeze (many, first)
  hidden, final_state = If (is_many) <
    then_branch = scan_rows () => (float[B, T, D] scan_hidden, float[B, D] scan_final)
    {
      zero = Constant <value = int64 {0}> ()
      one = Constant <value = int64 {1}> ()
      time = Shape <start = 1, end = 2> (gates)
      events = Squeeze (time, first)
      position = Range (zero, events, one)
      length = Unsqueeze (lengths, second)
      is_event = Less (position, length)
      valid = Unsqueeze (is_event, third)
      weight = Transpose <perm = [1, 0]> (recurrent_weight)
      scan_final, scan_hidden = Scan <num_scan_inputs = 2, scan_input_axes = [1, 1], scan_output_axes = [1],
        body = step (float[B, D] state, float[B, G] gates_t, bool[B, U] valid_t)
          => (float[B, D] next, float[B, D] out)
        {
          product = MatMul (state, weight)
          input_r, input_z, input_n = Split <axis = -1, num_outputs = 3> (gates_t)
          state_r, state_z, state_n = Split <axis = -1, num_outputs = 3> (product)
          sum_r = Add (input_r, state_r)
          sum_z = Add (input_z, state_z)
          r = Sigmoid (sum_r)
          z = Sigmoid (sum_z)
          reset = Mul (r, state_n)
          sum_n = Add (input_n, reset)
          n = Tanh (sum_n)
          change = Sub (state, n)
          kept = Mul (z, change)
          updated = Add (n, kept)
          next = Where (valid_t, updated, state)
          out = Identity (next)
        }> (initial_state, gates, valid)
    },
    else_branch = gru_rows () => (float[B, T, D] gru_hidden, float[B, D] gru_final)
    {
      gates_size = Shape <start = 0, end = 1> (recurrent_weight)
      weight_shape = Concat <axis = 0> (gates_size, gates_size)
      zeros = ConstantOfShape <value = float[1] {0}> (weight_shape)
      identity = EyeLike (zeros)
      eye_r, eye_z, eye_n = Split <axis = 0, num_outputs = 3> (identity)
      weight_r, weight_z, weight_n = Split <axis = 0, num_outputs = 3> (recurrent_weight)
      eye_zrn = Concat <axis = 0> (eye_z, eye_r, eye_n)
      weight_zrn = Concat <axis = 0> (weight_z, weight_r, weight_n)
      input_weight = Unsqueeze (eye_zrn, first)
      state_weight = Unsqueeze (weight_zrn, first)
      start = Unsqueeze (initial_state, first)
      lengths32 = Cast <to = 6> (lengths)
      gates_by_time = Transpose <perm = [1, 0, 2]> (gates)
      by_time, last = GRU <hidden_size : int = @hidden_size, linear_before_reset = 1>
        (gates_by_time, input_weight, state_weight, "", lengths32, start)
      time_major = Squeeze (by_time, second)
      gru_hidden = Transpose <perm = [1, 0, 2]> (time_major)
      last_state = Squeeze (last, first)
      unread = Equal (lengths, first)
      empty = Unsqueeze (unread, second)
      gru_final = Where (empty, initial_state, last_state)
    }>
}
"""

_BODIES = {LINEAR_RECURRENCE: _LINEAR_RECURRENCE, GRU_RECURRENCE: _GRU_RECURRENCE}
