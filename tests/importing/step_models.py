"""Step graphs as other frameworks would write them: one recurrence in many dresses, and what it should answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ITEMS, DIM = 30, 6


@dataclass
class Dress:
    """Reads h' = tanh(E[item] + h W), scores = h' T^T (+ b), in the form that the fields say."""

    padding: bool = True
    """whether item 0 is padding, as in most graphs of recommenders"""
    head: str = "matmul"
    """matmul, gemm, bias, transposed, reshaped, normed (no product)"""
    item_dtype: int = TensorProto.INT64
    item_rank: int = 1
    batch_axis: int = 0
    counts: bool = False
    """whether the state has a number of events, int64, that the scores depend on"""
    branches: bool = False
    """whether an If, whose branches read values from outside, makes the new state"""
    stretch: float = 1.0
    """of the user vector, taken back in the table"""
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draw, rows = np.random.default_rng(3), ITEMS + self.padding
        self.weights = {
            "E": draw.normal(size=(rows, DIM)).astype(np.float32),
            "W": draw.normal(size=(DIM, DIM)).astype(np.float32) / 2,
            "T": draw.normal(size=(rows, DIM)).astype(np.float32),
            "b": draw.normal(size=rows).astype(np.float32),
        }

    def scores(self, items: Sequence[int]) -> np.ndarray:
        """Of items 1..ITEMS after a history of such, in float64: [ITEMS]."""
        w = {name: value.astype(np.float64) for name, value in self.weights.items()}
        h, first = np.zeros(DIM), 1 - self.padding
        for item in items:
            h = np.tanh(w["E"][item - first] + h @ w["W"])
        user = h * (1 + 0.01 * len(items)) if self.counts else h
        scores = w["T"] @ user
        if self.head in ("bias", "gemm"):
            scores = scores + w["b"]
        if self.head == "normed":
            scores = self.stretch * scores / np.sqrt((scores**2).sum())
        return scores[1 - first :]

    def save(self, path: Path) -> Path:
        one_axis = numpy_helper.from_array(np.array([1]), "one_axis")
        tensors = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        stretch = np.float32(self.stretch if self.head != "normed" else 1)
        tensors += [one_axis, numpy_helper.from_array(np.array(stretch), "stretch")]
        item_shape: list[Any] = ["batch", *([1] if self.item_rank == 2 else [])]
        state_shape: list[Any] = [1, DIM]
        state_shape.insert(self.batch_axis, "batch")
        nodes = [
            helper.make_node("Gather", ["E", "item"], ["x_raw"]),
            helper.make_node("Reshape", ["x_raw", "flat"], ["x"]),
            helper.make_node("Reshape", ["past.h", "flat"], ["h"]),
            helper.make_node("MatMul", ["h", "W"], ["hW"]),
            helper.make_node("Add", ["x", "hW"], ["sum"]),
            *self._tanh(),
            helper.make_node("Reshape", ["new", "state_shape"], ["present.h"]),
        ]
        sizes = [1, DIM]
        sizes.insert(self.batch_axis, -1)
        tensors += [
            numpy_helper.from_array(np.array([-1, DIM]), "flat"),
            numpy_helper.from_array(np.array(sizes), "state_shape"),
        ]
        inputs = [
            helper.make_tensor_value_info("item", self.item_dtype, item_shape),
            helper.make_tensor_value_info("past.h", TensorProto.FLOAT, state_shape),
        ]
        outputs = [helper.make_tensor_value_info("present.h", TensorProto.FLOAT, state_shape)]
        user = "new"
        if self.counts:
            nodes += [
                helper.make_node("Add", ["past.n", "one_axis"], ["present.n"]),
                helper.make_node("Cast", ["present.n"], ["n"], to=TensorProto.FLOAT),
                helper.make_node("Mul", ["n", "hundredth"], ["grown"]),
                helper.make_node("Add", ["grown", "whole"], ["factor"]),
                helper.make_node("Mul", ["new", "factor"], ["counted"]),
            ]
            tensors += [
                numpy_helper.from_array(np.array(value, np.float32), name)
                for name, value in (("hundredth", 0.01), ("whole", 1))
            ]
            inputs.append(helper.make_tensor_value_info("past.n", TensorProto.INT64, ["batch", 1]))
            outputs.append(helper.make_tensor_value_info("present.n", TensorProto.INT64, ["batch", 1]))
            user = "counted"
        nodes += [helper.make_node("Mul", [user, "stretch"], ["user"]), *self._head()]
        table = self.weights["T"] / stretch
        tensors = [tensor for tensor in tensors if tensor.name != "T"]
        tensors.append(numpy_helper.from_array(table if self.head in ("gemm", "transposed") else table.T.copy(), "T"))
        outputs.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", ITEMS + self.padding]))
        read = {name for node in nodes for name in node.input}
        graph = helper.make_graph(nodes, "step", inputs, outputs, [t for t in tensors if t.name in read])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        return path

    def _tanh(self) -> list[onnx.NodeProto]:
        if not self.branches:
            return [helper.make_node("Tanh", ["sum"], ["new"])]
        branches = {
            name: helper.make_graph(
                [helper.make_node("Tanh", ["sum"], [f"new_{name}"])],
                name,
                [],
                [helper.make_tensor_value_info(f"new_{name}", TensorProto.FLOAT, None)],
            )
            for name in ("then_branch", "else_branch")
        }
        return [
            helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
            helper.make_node("Less", ["largest", "stretch"], ["is_less"]),
            helper.make_node("If", ["is_less"], ["new"], **branches),
        ]

    def _head(self) -> list[onnx.NodeProto]:
        if self.head == "gemm":
            return [helper.make_node("Gemm", ["user", "T", "b"], ["scores"], transB=1)]
        if self.head == "transposed":
            return [
                helper.make_node("Transpose", ["T"], ["T_t"], perm=[1, 0]),
                helper.make_node("MatMul", ["user", "T_t"], ["product"]),
                helper.make_node("Identity", ["product"], ["scores"]),
            ]
        if self.head == "reshaped":
            return [
                helper.make_node("Unsqueeze", ["user", "one_axis"], ["user_t"]),
                helper.make_node("MatMul", ["user_t", "T"], ["product"]),
                helper.make_node("Flatten", ["product"], ["scores"], axis=1),
            ]
        if self.head == "bias":
            return [
                helper.make_node("MatMul", ["user", "T"], ["product"]),
                helper.make_node("Add", ["b", "product"], ["scores"]),
            ]
        if self.head == "normed":
            big = helper.make_tensor("big", TensorProto.FLOAT, [], [self.stretch])
            return [
                helper.make_node("MatMul", ["user", "T"], ["product"]),
                helper.make_node("LpNormalization", ["product"], ["unit"], axis=1, p=2),
                helper.make_node("Constant", [], ["big"], value=big),
                helper.make_node("Mul", ["unit", "big"], ["scores"]),
            ]
        return [helper.make_node("MatMul", ["user", "T"], ["scores"])]


def write_items(path: Path, count: int = ITEMS) -> Path:
    path.write_text("item_id,title,genre\n" + "".join(f"f{n},Film {n},g{n % 3}\n" for n in range(1, count + 1)))
    return path
