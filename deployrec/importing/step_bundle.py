"""The four graphs of a bundle, made of a step's parts: encode is the step in a Scan over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deployrec.bundle.graph import Graph, GraphTensor
from deployrec.bundle.manifest import ITEM_TABLE
from deployrec.export.graphs import describe_state, read_from_table, signature
from deployrec.importing.step_graph import FLOAT, used_names
from deployrec.importing.step_parts import Parts, constant, renamed
from deployrec.state import StateSpec

IR_VERSION = 10
"""Of ONNX 1.16: what every runtime of today reads."""
ELEMENTS = {"float32": FLOAT, "int64": TensorProto.INT64}


def write_step_graphs(parts: Parts, spec: StateSpec, opset: int, folder: Path) -> dict[str, Graph]:
    """Writes step, advance, encode and score into `folder`, beside the item table; returns their signatures."""
    parts.table.tofile(folder / ITEM_TABLE)
    signatures = {name: signature(spec, parts.table.shape[1], name) for name in ("step", "advance", "encode", "score")}
    for name, described in signatures.items():
        model = graph_of(name, parts, spec, opset)
        _share_table(model, parts.table)
        describe_state(model, spec)
        onnx.save_model(model, str(folder / described.file))
    return signatures


def graph_of(name: str, parts: Parts, spec: StateSpec, opset: int) -> onnx.ModelProto:
    """One of the four, with all its numbers inside."""
    described = signature(spec, parts.table.shape[1], name)
    nodes, weights = [], []
    if name in ("step", "advance"):
        nodes, weights = list(parts.nodes), list(parts.weights)
    if name == "encode":
        nodes, weights = _over_time(parts, spec), [*parts.weights, *_time_constants(parts)]
    if name in ("step", "score"):
        nodes, weights = [*nodes, *_best(parts)], _once([*weights, *_score_constants(parts)])
    read = {used for node in nodes for used in used_names(node)}
    graph = helper.make_graph(
        nodes,
        name,
        [_value(tensor) for tensor in described.inputs],
        [_value(tensor) for tensor in described.outputs],
        [tensor for tensor in weights if tensor.name in read],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)


def _best(parts: Parts) -> list[onnx.NodeProto]:
    """user [B, D], exclude_items [B, E], k [1] -> topk_items, topk_scores [B, K]; item 0 where none is left."""
    if parts.is_product:
        scores = [helper.make_node("Gemm", ["user", "items", "padding"], ["scores"], transB=1)]
    else:
        unscaled = helper.make_node("Mul", ["user", "scale"], ["own_scores"])
        if parts.first_row:
            scores = [unscaled, helper.make_node("Pad", ["own_scores", "one_before", "minus_infinity"], ["scores"])]
        else:
            scores = [unscaled, helper.make_node("Add", ["own_scores", "padding"], ["scores"])]
    return [
        *scores,
        helper.make_node("Shape", ["exclude_items"], ["excluded_shape"]),
        helper.make_node("Expand", ["minus_infinity", "excluded_shape"], ["excluded_scores"]),
        helper.make_node("ScatterElements", ["scores", "exclude_items", "excluded_scores"], ["left"], axis=1),
        helper.make_node("TopK", ["left", "k"], ["topk_scores", "best"], axis=1),
        helper.make_node("Equal", ["topk_scores", "minus_infinity"], ["exhausted"]),
        helper.make_node("Where", ["exhausted", "no_item", "best"], ["topk_items"]),
    ]


def _score_constants(parts: Parts) -> list[onnx.TensorProto]:
    padding = np.zeros(len(parts.table), np.float32)
    padding[0] = -np.inf
    return [
        numpy_helper.from_array(parts.table, "items"),
        numpy_helper.from_array(padding, "padding"),
        constant("minus_infinity", -np.inf, np.float32),
        constant("scale", parts.scale, np.float32),
        constant("no_item", 0),
        constant("one_before", [0, 1, 0, 0]),
    ]


def _over_time(parts: Parts, spec: StateSpec) -> list[onnx.NodeProto]:
    """item_ids [B, T], lengths [B], past.* -> user [B, D], present.*: a row that has ended keeps what it had."""
    starts = {"user": "no_user", **{tensor.present: tensor.past for tensor in spec.tensors}}
    ranks = {"user": 1, **{tensor.present: len(tensor.shape) for tensor in spec.tensors}}
    # No value inside may be called as one outside.
    inside = {name: f"event.{name}" for name in (*starts, *starts.values())}
    kept = [node for name, start in starts.items() for node in _keep(inside[name], inside[start], ranks[name])]
    body = helper.make_graph(
        [*(renamed(node, inside) for node in parts.nodes), *kept],
        "one_event",
        [
            *(helper.make_tensor_value_info(inside[start], FLOAT, None) for start in starts.values()),
            helper.make_tensor_value_info("item_id", TensorProto.INT64, None),
            helper.make_tensor_value_info("is_event", TensorProto.BOOL, None),
        ],
        [helper.make_tensor_value_info(f"{inside[name]}.kept", FLOAT, None) for name in starts],
    )
    zero = helper.make_tensor("zero", FLOAT, [1], [0.0])
    return [
        helper.make_node("Shape", ["item_ids"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["events"]),
        helper.make_node("Range", ["range_start", "events", "range_step"], ["position"]),
        helper.make_node("Unsqueeze", ["lengths", "last_axis"], ["length"]),
        helper.make_node("Less", ["position", "length"], ["valid"]),
        helper.make_node("Gather", ["shape", "batch_place"], ["rows"]),
        helper.make_node("Concat", ["rows", "width"], ["user_shape"], axis=0),
        helper.make_node("ConstantOfShape", ["user_shape"], ["no_user"], value=zero),
        helper.make_node(
            "Scan",
            [*starts.values(), "item_ids", "valid"],
            list(starts),
            body=body,
            num_scan_inputs=2,
            scan_input_axes=[1, 1],
        ),
    ]


def _keep(new: str, old: str, rank: int) -> list[onnx.NodeProto]:
    """NEW.kept: the new value [B, ...] of the rank beside the batch where there is an event, the old one elsewhere."""
    axes = helper.make_tensor("axes", TensorProto.INT64, [rank], list(range(1, rank + 1)))
    return [
        helper.make_node("Constant", [], [f"{new}.axes"], value=axes),
        helper.make_node("Unsqueeze", ["is_event", f"{new}.axes"], [f"{new}.is_event"]),
        helper.make_node("Where", [f"{new}.is_event", new, old], [f"{new}.kept"]),
    ]


def _time_constants(parts: Parts) -> list[onnx.TensorProto]:
    return [
        constant("first", 1),
        constant("range_start", 0),
        constant("range_step", 1),
        constant("last_axis", [1]),
        constant("batch_place", [0]),
        constant("width", [parts.table.shape[1]]),
    ]


def _once(tensors: list[onnx.TensorProto]) -> list[onnx.TensorProto]:
    return list({tensor.name: tensor for tensor in tensors}.values())


def _share_table(model: onnx.ModelProto, table: np.ndarray) -> None:
    """Lets the items, and an embedding that is the same table, read it from the bundle's one file."""
    content = table.tobytes()
    for tensor in model.graph.initializer:
        if tuple(tensor.dims) == table.shape and tensor.raw_data == content:
            read_from_table(tensor, table)


def _value(tensor: GraphTensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, ELEMENTS[tensor.dtype], tensor.shape)
