"""A graph whose large products run in fp16: TensorRT 11 takes types from the graph alone.

Ids, states, recurrences, sums and scores stay float32; a weight and what it multiplies are cast, and so is the product.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PRODUCTS = ("MatMul", "Gemm", "Conv")
# What only moves values: a weight or a state stays one behind it.
_MOVES = ("Transpose", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Slice", "Gather", "Split")


def half_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` in which every product of a weight with anything but a state itself is in fp16.

    External data must be loaded. Function bodies stay as they are.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    weights = _reached(graph, weights)
    states = _reached(graph, {tensor.name for tensor in graph.input if tensor.name.startswith("past.")})
    casts: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []

    def half(name: str) -> str:
        if name not in casts:
            casts[name] = f"{name}.half"
            nodes.append(helper.make_node("Cast", [name], [casts[name]], to=TensorProto.FLOAT16))
        return casts[name]

    for node in graph.node:
        is_weighted = node.op_type in PRODUCTS and node.domain == "" and not weights.isdisjoint(node.input[:2])
        if is_weighted and states.isdisjoint(node.input[:2]):
            product = node.output[0]
            added = list(node.input[2:])
            if node.op_type == "Gemm" and weights.isdisjoint(added):
                # What a product adds that is no bias stays in float32: it is the sum of all layers before.
                del node.input[2:]
            else:
                added = []
            node.input[:] = [half(name) if name else "" for name in node.input]
            node.output[0] = f"{product}.half_product"
            nodes.append(node)
            whole = f"{product}.product" if added else product
            nodes.append(helper.make_node("Cast", [node.output[0]], [whole], to=TensorProto.FLOAT))
            if added:
                nodes.append(helper.make_node("Add", [whole, *added], [product]))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _store_in_half(graph, casts)
    return model


def _reached(graph: onnx.GraphProto, names: set[str]) -> set[str]:
    """`names` and everything that is one of them moved about."""
    reached = set(names)
    for node in graph.node:
        if node.op_type in _MOVES and node.input[0] in reached:
            reached.update(node.output)
    return reached


def _store_in_half(graph: onnx.GraphProto, casts: dict[str, str]) -> None:
    """Turns a weight that only its cast reads into fp16 itself."""
    readers = [name for node in graph.node for name in node.input]
    for tensor in graph.initializer:
        cast = casts.get(tensor.name)
        if cast is None or readers.count(tensor.name) > 1:
            continue
        (node,) = (node for node in graph.node if list(node.output) == [cast])
        graph.node.remove(node)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), cast))
