"""A step graph in a bundle's terms: items by row, states with the batch in front, a user vector and an item table.

Scores that end in a product with a constant table, as most do, are cut there: what stands before it is the user vector,
and the table is the bundle's. Other scores are themselves the user vector, up to MOST_DIRECT of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, compose, helper, numpy_helper

from deployrec.errors import ConfigError
from deployrec.importing.step_graph import FLOAT, StatePort, StepGraph, used_names
from deployrec.importing.step_session import StepSession

MOST_DIRECT = 4096
"""Scores that may be kept of every user where they are no product."""
SAME_NUMBERS = ("Identity", "Squeeze", "Reshape", "Flatten")
"""Operators that a product's scores may still pass through."""
MOST_ENTRY = 8.0
"""Of a user vector, about as far as a LayerNorm's output goes."""
UNSCALED = "user_unscaled"
OWN = "own."
"""Before every name of the graph itself."""


@dataclass(frozen=True, eq=False)
class Parts:
    """nodes: item_id [B] int64 and past.* to user [B, D] and present.*, without scores; they read `weights`.

    table        float32 [N + 1, D] with zeros in row 0
    first_row    the row of the graph's item 0: 1 where it has no padding
    is_product   whether a score is the user vector times the table's row, else it is the user vector's entry
    scale        what the graph's own user vector is divided by, and its table multiplied: a power of two
    """

    nodes: list[onnx.NodeProto]
    weights: list[onnx.TensorProto]
    table: np.ndarray
    first_row: int
    is_product: bool
    scale: float = 1.0

    def scaled(self, largest: float) -> Parts:
        """The same for a user vector whose entries reach `largest`: within MOST_ENTRY, and the same scores bit for bit.

        A certificate's limit on user vectors is one for entries of a few units, as behind a LayerNorm.
        """
        if largest <= MOST_ENTRY:
            return self
        scale = 2.0 ** math.ceil(math.log2(largest / MOST_ENTRY))
        nodes = [renamed(node, {"user": UNSCALED}) for node in self.nodes]
        return replace(
            self,
            nodes=[*nodes, helper.make_node("Div", [UNSCALED, "scale"], ["user"])],
            weights=[*self.weights, constant("scale", scale, np.float32)],
            table=self.table * np.float32(scale),
            scale=scale,
        )


def parts_of(step: StepGraph, session: StepSession, num_items: int) -> Parts:
    """Raises ConfigError for another number of scores than items (with or without a padding item 0), and for many that
    are no product."""
    first_row = _first_row(step, session.num_scores, num_items)
    graph = compose.add_prefix_graph(step.model.graph, OWN, inplace=False)
    values = _Values(graph, step.opset)
    product = _product(values, OWN + step.scores)
    if product is None:
        if session.num_scores > MOST_DIRECT:
            raise ConfigError(
                f"expected scores in {step.path} as a product of a user vector and a constant table at the graph's end "
                f"(MatMul or Gemm), or at most {MOST_DIRECT:,} of them; got {session.num_scores:,} of another making; "
                "end the graph with the product"
            )
        user, rows, bias = OWN + step.scores, np.eye(session.num_scores, dtype=np.float32), None
    else:
        user, rows, bias = product
    if bias is not None:
        rows = np.concatenate([rows, bias[:, None]], axis=1)
    table = np.concatenate([np.zeros((1, rows.shape[1]), np.float32), rows[1 - first_row :]])
    if not np.isfinite(table).all():
        raise ConfigError(f"expected finite weights in {step.path}; got NaN or infinity in the item table; train again")
    targets = [user, *(OWN + state.present for state in step.states)]
    before = [*_item_nodes(step, first_row), *(node for state in step.states for node in _past_nodes(state))]
    after = [*_user_nodes(user, bias is not None), *(node for state in step.states for node in _present_nodes(state))]
    kept = values.needed(targets)
    weights = [tensor for tensor in graph.initializer if tensor.name in values.read_by(kept, targets)]
    return Parts([*before, *kept, *after], [*weights, *_constants()], table, first_row, product is not None)


def constant(name: str, value: object, dtype: type = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """The node with other names of what it reads and makes, its subgraphs as they are."""
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    copied.input[:] = [names.get(name, name) for name in node.input]
    copied.output[:] = [names.get(name, name) for name in node.output]
    return copied


class _Values:
    """Which node makes a value, and what is constant."""

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        self.nodes, self.opset = list(graph.node), opset
        self.maker = {name: node for node in graph.node for name in node.output}
        self.weights = {tensor.name: tensor for tensor in graph.initializer}

    def needed(self, names: Iterable[str]) -> list[onnx.NodeProto]:
        """The nodes that the values come from, in the graph's order."""
        waiting, found = list(names), set[int]()
        while waiting:
            node = self.maker.get(waiting.pop())
            if node is not None and id(node) not in found:
                found.add(id(node))
                waiting += used_names(node)
        return [node for node in self.nodes if id(node) in found]

    def read_by(self, nodes: Iterable[onnx.NodeProto], names: Iterable[str]) -> set[str]:
        return {name for node in nodes for name in used_names(node)}.union(names)

    def array(self, name: str) -> np.ndarray | None:
        """The numbers of a constant, computed where nodes make it; None for what depends on an input."""
        if name in self.weights:
            return numpy_helper.to_array(self.weights[name])
        nodes = self.needed([name])
        made = {output for node in nodes for output in node.output}
        read = self.read_by(nodes, [name])
        if not nodes or any(used not in made and used not in self.weights for used in read):
            return None
        weights = [self.weights[used] for used in read if used in self.weights]
        output = helper.make_value_info(name, helper.make_tensor_type_proto(FLOAT, None))
        model = helper.make_model(
            helper.make_graph(nodes, "constant", [], [output], weights),
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=10,
        )
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run([name], {})[0])


def _first_row(step: StepGraph, num_scores: int, num_items: int) -> int:
    if num_scores not in (num_items, num_items + 1):
        raise ConfigError(
            f"expected a score for each of {num_items:,} items, or {num_items + 1:,} with a padding item 0; got "
            f"{num_scores:,} from '{step.scores}' of {step.path}; list the items in --items in the graph's order"
        )
    return 1 if num_scores == num_items else 0


def _product(values: _Values, scores: str) -> tuple[str, np.ndarray, np.ndarray | None] | None:
    """(the user vector's name, the table [N, D], a bias [N] or none) that scores are made of, or None."""
    node = values.maker.get(scores)
    while node is not None and node.op_type in SAME_NUMBERS:
        node = values.maker.get(node.input[0])
    bias = None
    if node is not None and node.op_type == "Add":
        sides = [values.array(name) for name in node.input]
        place = next(
            (place for place, side in enumerate(sides) if side is not None and side.size == side.shape[-1]), None
        )
        if place is None:
            return None
        bias, node = sides[place], values.maker.get(node.input[1 - place])
    if node is None or node.op_type not in ("MatMul", "Gemm"):
        return None
    table = values.array(node.input[1])
    if table is None or table.ndim != 2 or table.dtype != np.float32:
        return None
    if node.op_type == "MatMul":
        table = table.T
    else:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        added = values.array(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if attributes.get("transA") or (added is None and len(node.input) > 2 and node.input[2]) or bias is not None:
            return None
        table = (table if attributes.get("transB") else table.T) * np.float32(attributes.get("alpha", 1.0))
        if added is not None:
            bias = added * np.float32(attributes.get("beta", 1.0))
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), (len(table),))
    return node.input[0], np.ascontiguousarray(table), bias


def _item_nodes(step: StepGraph, first_row: int) -> Iterator[onnx.NodeProto]:
    """item_id [B] int64 as the graph takes it; row 0, padding, is item 0 there too, whatever it is."""
    name = "item_id"
    if first_row:
        yield helper.make_node("Sub", [name, "one"], ["item_before"])
        yield helper.make_node("Max", ["item_before", "zero"], ["item_index"])
        name = "item_index"
    if step.item.dtype != TensorProto.INT64:
        yield helper.make_node("Cast", [name], ["item_cast"], to=step.item.dtype)
        name = "item_cast"
    last = OWN + step.item.name
    if len(step.item.shape) == 2:
        yield helper.make_node("Unsqueeze", [name, "axis_1"], [last])
    else:
        yield helper.make_node("Identity", [name], [last])


def _past_nodes(state: StatePort) -> Iterator[onnx.NodeProto]:
    """past.NAME [B, ...] float32 as the graph takes it."""
    name, last = state.tensor.past, OWN + state.past.name
    if state.past.dtype != FLOAT:
        yield helper.make_node("Cast", [name], [f"{name}.cast"], to=state.past.dtype)
        name = f"{name}.cast"
    axes = list(range(1, len(state.past.shape)))
    axes.insert(state.batch_axis, 0)
    yield helper.make_node("Transpose", [name], [last], perm=axes)


def _present_nodes(state: StatePort) -> Iterator[onnx.NodeProto]:
    """What the graph gives as present.NAME [B, ...]; whole numbers stay exact in float32 up to 16.7 million."""
    axes = [state.batch_axis, *(axis for axis in range(len(state.past.shape)) if axis != state.batch_axis)]
    name = OWN + state.present
    if state.past.dtype != FLOAT:
        yield helper.make_node("Cast", [name], [f"{name}.cast"], to=FLOAT)
        name = f"{name}.cast"
    yield helper.make_node("Transpose", [name], [state.tensor.present], perm=axes)


def _user_nodes(user: str, has_bias: bool) -> Iterator[onnx.NodeProto]:
    """The user vector [B, D], followed by a one where the items have biases."""
    yield helper.make_node("Flatten", [user], ["user_flat" if has_bias else "user"], axis=1)
    if has_bias:
        one = helper.make_tensor("one", FLOAT, [1], [1.0])
        yield helper.make_node("Shape", ["item_id"], ["batch"])
        yield helper.make_node("Concat", ["batch", "axis_1"], ["ones_shape"], axis=0)
        yield helper.make_node("ConstantOfShape", ["ones_shape"], ["ones"], value=one)
        yield helper.make_node("Concat", ["user_flat", "ones"], ["user"], axis=1)


def _constants() -> list[onnx.TensorProto]:
    return [constant("zero", 0), constant("one", 1), constant("axis_1", [1])]
