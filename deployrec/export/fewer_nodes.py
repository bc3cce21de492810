"""Graphs with fewer nodes for the same answers: at one user a request, their number is what a step costs.

What a rewrite changes of a number is its rounding alone: constants are joined in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

UNARY = ("Sigmoid", "Tanh", "Elu")
PRODUCTS = 3
"""So many products of one input are worth a single product and a split."""


def fewer_nodes(graph: onnx.GraphProto) -> None:
    """Rewrites a graph, whose values' shapes are recorded, until nothing is left to join."""
    rewrites = (unary_before_split, residual_in_gemm, one_gemm, softsign, root_of_affine)
    while any(rewrite(Wiring(graph)) for rewrite in rewrites):
        drop_unused(graph)
    drop_unused(graph)


class Wiring:
    """Who makes and who reads each value of a graph; good until the graph changes."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.shapes = {
            value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
            for value in (*graph.value_info, *graph.input, *graph.output)
        }

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a value which is no output."""
        found = self.readers.get(name, [])
        return found[0] if len(found) == 1 and name not in self.outputs else None

    def maker(self, name: str, *operators: str) -> onnx.NodeProto | None:
        """The node of one of these operators that makes a value."""
        node = self.makers.get(name)
        return node if node is not None and node.domain == "" and node.op_type in operators else None

    def nodes(self, *operators: str) -> Iterator[onnx.NodeProto]:
        return (node for node in self.graph.node if node.domain == "" and node.op_type in operators)

    def constant(self, name: str) -> np.ndarray | None:
        """A constant's numbers; None for another value and for what lies in another file."""
        tensor = self.constants.get(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(tensor)

    def number(self, name: str) -> float | None:
        """A constant of one number."""
        value = self.constant(name)
        return float(value.item()) if value is not None and value.size == 1 else None

    def add_constant(self, like: str, value: np.ndarray) -> str:
        """A new constant, named after the one in whose place it comes."""
        name = like
        while name in self.constants:
            name += "_"
        tensor = numpy_helper.from_array(value.astype(np.float32), name)
        self.graph.initializer.append(tensor)
        self.constants[name] = tensor
        return name


def unary_before_split(wiring: Wiring) -> bool:
    """Split, then the same function of every part -> the function, then Split."""
    for split in wiring.nodes("Split"):
        readers = [wiring.only_reader(name) for name in split.output]
        first = readers[0]
        if first is None or first.op_type not in UNARY or any(r is None or not _alike(r, first) for r in readers):
            continue
        whole = f"{split.input[0]}_{first.op_type.lower()}"
        joined = onnx.NodeProto()
        joined.CopyFrom(first)
        joined.input[:], joined.output[:] = [split.input[0]], [whole]
        split.input[0] = whole
        split.output[:] = [reader.output[0] for reader in readers if reader is not None]
        for reader in readers:
            wiring.graph.node.remove(reader)
        _insert(wiring.graph, joined, before=split)
        return True
    return False


def residual_in_gemm(wiring: Wiring) -> bool:
    """Gemm, then Add of a value of the same shape -> Gemm, which adds that value in its bias's place."""
    for add in wiring.nodes("Add"):
        for product, other in (add.input, reversed(add.input)):
            gemm = wiring.maker(product, "Gemm")
            shape = wiring.shapes.get(other)
            if gemm is None or wiring.only_reader(product) is None or other in wiring.constants:
                continue
            if not shape or shape != wiring.shapes.get(product) or not _plain(gemm):
                continue
            if len(gemm.input) > 2 and not _move_bias(wiring, gemm, other, add):
                continue
            gemm.input[:] = [*gemm.input[:2], other]
            gemm.output[0] = add.output[0]
            wiring.graph.node.remove(gemm)
            _insert(wiring.graph, gemm, before=add)
            wiring.graph.node.remove(add)
            return True
    return False


def _move_bias(wiring: Wiring, gemm: onnx.NodeProto, other: str, add: onnx.NodeProto) -> bool:
    """Adds the product's bias b to `other` where that is made: y + b instead of y, which other products of y make up
    for in their own biases. Only where y is a LayerNormalization, whose bias takes b."""
    norm, bias = wiring.maker(other, "LayerNormalization"), wiring.constant(gemm.input[2])
    if norm is None or bias is None or len(norm.input) < 3 or other in wiring.outputs:
        return False
    before = wiring.constant(norm.input[2])
    products = [node for node in wiring.readers[other] if node is not add]
    if before is None or bias.shape != before.shape or not all(_takes_shift(wiring, node, other) for node in products):
        return False
    for node in products:
        weight = wiring.constant(node.input[1])
        assert weight is not None
        own = wiring.constant(node.input[2]) if len(node.input) > 2 else None
        shifted = (0.0 if own is None else own.astype(np.float64)) - weight.astype(np.float64) @ bias
        name = wiring.add_constant(node.input[2] if len(node.input) > 2 else f"{node.input[1]}_shift", shifted)
        node.input[:] = [*node.input[:2], name]
    norm.input[2] = wiring.add_constant(norm.input[2], before.astype(np.float64) + bias)
    return True


def _takes_shift(wiring: Wiring, node: onnx.NodeProto, name: str) -> bool:
    """Whether a constant shift of the value can be made up for in the node's bias."""
    if node.op_type != "Gemm" or not _plain(node) or list(node.input).count(name) != 1 or node.input[0] != name:
        return False
    biases = node.input[2:]
    return wiring.constant(node.input[1]) is not None and all(wiring.constant(bias) is not None for bias in biases)


def one_gemm(wiring: Wiring) -> bool:
    """Several Gemms of one input -> one, and a Split."""
    for name in list(wiring.readers):
        gemms = [
            node
            for node in wiring.readers[name]
            if node.op_type == "Gemm" and _takes_shift(wiring, node, name) and wiring.outputs.isdisjoint(node.output)
        ]
        if len(gemms) < PRODUCTS:
            continue
        weights = [_numbers(wiring, gemm.input[1]) for gemm in gemms]
        biases = [
            _numbers(wiring, gemm.input[2]) if len(gemm.input) > 2 else np.zeros(len(weight), np.float32)
            for gemm, weight in zip(gemms, weights, strict=True)
        ]
        weight = wiring.add_constant(f"{gemms[0].input[1]}_joined", np.concatenate(weights))
        bias = wiring.add_constant(f"{gemms[0].input[1]}_joined_bias", np.concatenate(biases))
        sizes = numpy_helper.from_array(np.array([len(part) for part in weights]), f"{weight}_sizes")
        wiring.graph.initializer.append(sizes)
        parts = [gemm.output[0] for gemm in gemms]
        whole = f"{parts[0]}_joined"
        joined = helper.make_node("Gemm", [name, weight, bias], [whole], transB=1)
        split = helper.make_node("Split", [whole, sizes.name], parts, axis=1)
        _insert(wiring.graph, joined, before=gemms[0])
        _insert(wiring.graph, split, before=gemms[0])
        for gemm in gemms:
            wiring.graph.node.remove(gemm)
        return True
    return False


def softsign(wiring: Wiring) -> bool:
    """x / (1 + |x|), as torch's own function is exported -> Softsign."""
    for division in wiring.nodes("Div"):
        x, below = division.input
        add = wiring.maker(below, "Add")
        number, absolute = _with_constant(wiring, add, "Abs") if add is not None else (None, None)
        if number == 1 and absolute is not None and absolute.input[0] == x:
            division.op_type, division.input[:] = "Softsign", [x]
            return True
    return False


def root_of_affine(wiring: Wiring) -> bool:
    """m sqrt(a x + b), where m^2 (a x + b) lies in [0, 1] whatever x can be -> HardSigmoid(x), which is that affine
    map there, and Sqrt."""
    for scale in wiring.nodes("Mul"):
        m, root = _with_constant(wiring, scale, "Sqrt")
        shift = wiring.maker(root.input[0], "Add") if root is not None else None
        if m is None or m <= 0 or root is None or shift is None or not _single(wiring, root, shift):
            continue
        b, affine = _with_constant(wiring, shift, "Mul")
        if b is None or affine is None or not _single(wiring, affine):
            continue
        a, x = _factor(wiring, affine)
        if a is None or x is None:
            continue
        low, high = sorted(m * m * (a * end + b) for end in value_range(wiring, x))
        if low < 0 or high > 1 + np.finfo(np.float32).eps:
            continue
        bounded = helper.make_node("HardSigmoid", [x], [shift.output[0]], alpha=m * m * a, beta=m * m * b)
        _insert(wiring.graph, bounded, before=shift)
        root.output[0] = scale.output[0]
        for node in (affine, shift, scale):
            wiring.graph.node.remove(node)
        return True
    return False


def value_range(wiring: Wiring, name: str) -> tuple[float, float]:
    """Between which numbers a value lies whatever the inputs are."""
    constant = wiring.constant(name)
    if constant is not None and constant.size:
        return float(constant.min()), float(constant.max())
    node = wiring.makers.get(name)
    if node is not None and node.domain == "":
        if node.op_type in RISING:
            low, high = map(RISING[node.op_type], value_range(wiring, node.input[0]))
            return low, high
        if node.op_type == "Split":
            return value_range(wiring, node.input[0])
        if node.op_type in ("Mul", "Neg"):
            ranges = [value_range(wiring, own) for own in node.input] + [(-1.0, -1.0)] * (node.op_type == "Neg")
            if all(map(math.isfinite, (*ranges[0], *ranges[1]))):
                products = [one * other for one in ranges[0] for other in ranges[1]]
                return min(products), max(products)
    return -math.inf, math.inf


RISING: dict[str, Callable[[float], float]] = {
    "Tanh": math.tanh,
    "Sigmoid": lambda x: (1 + math.tanh(x / 2)) / 2,
    "Softsign": lambda x: x / (1 + abs(x)) if math.isfinite(x) else math.copysign(1, x),
}
"""Functions that never fall: a range's ends are its image's."""


def drop_unused(graph: onnx.GraphProto) -> None:
    """Removes the nodes and constants that no output is made of."""
    needed = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed |= _reads(node)
    for tensor in list(graph.initializer):
        if tensor.name not in needed:
            graph.initializer.remove(tensor)


def _reads(node: onnx.NodeProto) -> set[str]:
    """What a node and the graphs inside it read."""
    read = set(node.input)
    for attribute in node.attribute:
        for graph in (*attribute.graphs, attribute.g):
            read.update(value.name for value in graph.output)
            for inner in graph.node:
                read |= _reads(inner)
    return read


def _alike(node: onnx.NodeProto, other: onnx.NodeProto) -> bool:
    return node.op_type == other.op_type and node.domain == "" and list(node.attribute) == list(other.attribute)


def _plain(gemm: onnx.NodeProto) -> bool:
    """x W^T, as it stands."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in gemm.attribute}
    expected = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}
    return {**expected, "transB": 0, **given} == expected


def _numbers(wiring: Wiring, name: str) -> np.ndarray:
    value = wiring.constant(name)
    assert value is not None
    return value


def _factor(wiring: Wiring, node: onnx.NodeProto) -> tuple[float | None, str | None]:
    """The number and the value that a node multiplies or adds."""
    for constant, other in (node.input, reversed(node.input)):
        if (number := wiring.number(constant)) is not None:
            return number, other
    return None, None


def _with_constant(wiring: Wiring, node: onnx.NodeProto, operator: str) -> tuple[float | None, onnx.NodeProto | None]:
    """The number of a Mul or Add, and the node of `operator` that makes its other input."""
    number, other = _factor(wiring, node)
    return number, wiring.maker(other, operator) if other is not None else None


def _single(wiring: Wiring, *nodes: onnx.NodeProto) -> bool:
    """Whether each node's value is read once, and no output."""
    return all(wiring.only_reader(node.output[0]) is not None for node in nodes)


def _insert(graph: onnx.GraphProto, node: onnx.NodeProto, before: onnx.NodeProto) -> None:
    graph.node.insert(list(graph.node).index(before), node)
