"""Graphs with their products in fp16: what is cast, what stays, and that ONNX Runtime still agrees."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deployrec.export.half import half_products

RNG = np.random.default_rng(5)
WEIGHT = RNG.normal(size=(6, 6)).astype(np.float32)


def model(*nodes: onnx.NodeProto, outputs: tuple[str, ...]) -> onnx.ModelProto:
    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 6])

    inputs = [value("x"), value("past.0.hidden")]
    graph = helper.make_graph(
        list(nodes), "g", inputs, [value(name) for name in outputs], [numpy_helper.from_array(WEIGHT, "w")]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(graph: onnx.ModelProto, **feed: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def half_nodes(graph: onnx.ModelProto) -> set[str]:
    """Outputs of the products that were cast."""
    return {
        node.output[0].removesuffix(".half_product") for node in graph.graph.node if "half_product" in node.output[0]
    }


@pytest.fixture
def feed() -> dict[str, np.ndarray]:
    return {name: RNG.normal(size=(4, 6)).astype(np.float32) for name in ("x", "past.0.hidden")}


def test_a_product_with_a_weight_is_cast_and_its_weight_stored_in_half(feed: dict[str, np.ndarray]) -> None:
    before = model(
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Add", ["y", "past.0.hidden"], ["out"]),
        outputs=("out",),
    )
    after = half_products(before)
    onnx.checker.check_model(after, full_check=True)
    assert half_nodes(after) == {"y"}
    assert [tensor.data_type for tensor in after.graph.initializer] == [TensorProto.FLOAT16]
    (exact,), (half,) = run(before, **feed), run(after, **feed)
    rounded = feed["x"].astype(np.float16).astype(np.float64) @ WEIGHT.astype(np.float16).astype(np.float64)
    assert half.dtype == np.float32
    assert 0 < np.abs(half - exact).max() < 2e-2
    np.testing.assert_allclose(half - feed["past.0.hidden"], rounded, atol=5e-3)


def test_a_moved_weight_is_still_a_weight_and_a_shared_one_stays_float32(feed: dict[str, np.ndarray]) -> None:
    before = model(
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "wt"], ["a"]),
        helper.make_node("Mul", ["x", "a"], ["out"]),
        outputs=("out", "wt"),
    )
    after = half_products(before)
    assert half_nodes(after) == {"a"}
    assert [tensor.data_type for tensor in after.graph.initializer] == [TensorProto.FLOAT]
    assert np.abs(run(after, **feed)[0] - run(before, **feed)[0]).max() < 5e-2


def test_products_of_a_state_and_of_two_activations_stay_exact(feed: dict[str, np.ndarray]) -> None:
    before = model(
        helper.make_node("Identity", ["past.0.hidden"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["recurrent"]),
        helper.make_node("Transpose", ["x"], ["xt"], perm=[1, 0]),
        helper.make_node("MatMul", ["recurrent", "xt"], ["square"]),
        helper.make_node("MatMul", ["square", "x"], ["out"]),
        outputs=("out",),
    )
    after = half_products(before)
    assert half_nodes(after) == set()
    np.testing.assert_array_equal(run(after, **feed)[0], run(before, **feed)[0])


def test_what_a_product_adds_stays_exact_but_for_a_bias(feed: dict[str, np.ndarray]) -> None:
    feed["past.0.hidden"] += 3000.3  # of which fp16 knows multiples of two
    before = model(helper.make_node("Gemm", ["x", "w", "past.0.hidden"], ["out"]), outputs=("out",))
    after = half_products(before)
    onnx.checker.check_model(after, full_check=True)
    assert half_nodes(after) == {"out"}
    (exact,), (half,) = run(before, **feed), run(after, **feed)
    assert 0 < np.abs(half - exact).max() < 2e-2
    bias = numpy_helper.from_array(RNG.normal(size=6).astype(np.float32), "b")
    before = model(helper.make_node("Gemm", ["x", "w", "b"], ["out"]), outputs=("out",))
    before.graph.initializer.append(bias)
    after = half_products(before)
    assert [node.op_type for node in after.graph.node] == ["Cast", "Gemm", "Cast"]
    assert np.abs(run(after, **feed)[0] - run(before, **feed)[0]).max() < 2e-2
