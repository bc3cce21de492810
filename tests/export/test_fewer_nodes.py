"""Rewritten graphs have fewer nodes and the same answers, whatever the weights are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deployrec.data import Dataset
from deployrec.export.fewer_nodes import Wiring, fewer_nodes, value_range
from tests.support import random_model

B, D = "B", 4
MOST_NODES = {"recblr": 75, "glintru": 95, "gru4rec": 22, "sasrec": 122}
"""Of a step with its list; of the same export without rewrites: 91, 102, 23 and 122."""


@pytest.mark.parametrize("key", MOST_NODES)
def test_a_step_has_no_more_nodes_than_it_needs(bundle_of: Callable[[str], Path], key: str) -> None:
    step, advance, score = (
        onnx.load(bundle_of(key) / f"{name}.onnx", load_external_data=False).graph
        for name in ("step", "advance", "score")
    )
    assert len(step.node) <= MOST_NODES[key]
    assert len(step.node) == len(advance.node) + len(score.node)


def model(nodes: list[onnx.NodeProto], outputs: dict[str, int], **weights: np.ndarray) -> onnx.ModelProto:
    """A graph of the inputs x and y [B, D] with its shapes recorded, as the exporter hands it over."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value(name, TensorProto.FLOAT, [B, D]) for name in "xy"],
        [value(name, TensorProto.FLOAT, [B, width]) for name, width in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


def check(before: onnx.ModelProto, operators: list[str]) -> None:
    """The operators that are left, and the same answers to rounding."""
    after = onnx.ModelProto.FromString(before.SerializeToString())
    fewer_nodes(after.graph)
    assert [node.op_type for node in after.graph.node] == operators
    draw = np.random.default_rng(0)
    feed = {value.name: draw.normal(size=(3, D)).astype(np.float32) for value in before.graph.input}
    answers = [onnxruntime.InferenceSession(each.SerializeToString()).run(None, feed) for each in (before, after)]
    for expected, found in zip(*answers, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6)


def weight(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


node = helper.make_node


def test_one_function_of_all_parts_comes_before_their_split() -> None:
    nodes = [
        node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
        node("Sigmoid", ["a"], ["r"]),
        node("Sigmoid", ["b"], ["i"]),
    ]
    check(model(nodes, {"r": 2, "i": 2}), ["Sigmoid", "Split"])
    check(model([*nodes, node("Neg", ["a"], ["n"])], {"r": 2, "i": 2, "n": 2}), ["Split", "Sigmoid", "Sigmoid", "Neg"])
    nodes[2] = node("Tanh", ["b"], ["i"])
    check(model(nodes, {"r": 2, "i": 2}), ["Split", "Sigmoid", "Tanh"])


def test_a_residual_is_added_by_the_product() -> None:
    nodes = [node("Gemm", ["x", "w"], ["p"], transB=1), node("Add", ["p", "y"], ["z"])]
    check(model(nodes, {"z": D}, w=weight(D, D)), ["Gemm"])
    check(model([*nodes, node("Neg", ["p"], ["q"])], {"z": D, "q": D}, w=weight(D, D)), ["Gemm", "Add", "Neg"])
    # y does not take the product's bias
    nodes[0] = node("Gemm", ["x", "w", "b"], ["p"], transB=1)
    check(model(nodes, {"z": D}, w=weight(D, D), b=weight(D)), ["Gemm", "Add"])


def test_a_norm_takes_the_bias_of_the_product_that_adds_it() -> None:
    nodes = [
        node("LayerNormalization", ["x", "g", "h"], ["n"]),
        node("Gemm", ["n", "v", "c"], ["inner"], transB=1),
        node("Gemm", ["n", "u"], ["other"], transB=1),
        node("Sigmoid", ["inner"], ["s"]),
        node("Gemm", ["s", "w", "b"], ["p"], transB=1),
        node("Add", ["n", "p"], ["z"]),
    ]
    weights = {
        **{"g": weight(D), "h": weight(D, seed=1), "b": weight(D, seed=2), "c": weight(D, seed=3)},
        **{"v": weight(D, D), "u": weight(D, D, seed=4), "w": weight(D, D, seed=5)},
    }
    joined = ["LayerNormalization", "Gemm", "Gemm", "Sigmoid", "Gemm"]
    check(model(nodes, {"z": D, "other": D}, **weights), joined)
    # where the norm itself is an output, it keeps its bias
    check(model(nodes, {"z": D, "other": D, "n": D}, **weights), [*joined, "Add"])
    nodes[2] = node("Neg", ["n"], ["other"])
    check(
        model(nodes, {"z": D, "other": D}, **weights), ["LayerNormalization", "Gemm", "Neg", "Sigmoid", "Gemm", "Add"]
    )


def test_several_products_of_one_input_are_one() -> None:
    weights = {f"w{n}": weight(n + 2, D, seed=n) for n in range(4)} | {"b1": weight(3, seed=9)}
    products = [node("Gemm", ["x", f"w{n}", "b1"] if n == 1 else ["x", f"w{n}"], [f"p{n}"], transB=1) for n in range(4)]
    ends = [node("Neg", [f"p{n}"], [f"o{n}"]) for n in range(4)]
    check(model([*products, *ends], {f"o{n}": n + 2 for n in range(4)}, **weights), ["Gemm", "Split", *["Neg"] * 4])
    check(
        model([*products[:2], *ends[:2]], {"o0": 2, "o1": 3}, **{n: weights[n] for n in ("w0", "w1", "b1")}),
        ["Gemm", "Gemm", "Neg", "Neg"],
    )


@pytest.mark.parametrize(("scale", "left"), [(-2e8, ["Mul", "Tanh", "Softsign", "HardSigmoid", "Sqrt"]), (2e8, None)])
def test_an_affine_map_below_a_root_is_one_node_where_its_value_is_bounded(
    scale: float, left: list[str] | None
) -> None:
    nodes = [
        node("Sigmoid", ["x"], ["s"]),
        node("Mul", ["s", "negative"], ["rate"]),
        node("Tanh", ["rate"], ["t"]),
        node("Abs", ["t"], ["abs"]),
        node("Add", ["abs", "one"], ["below"]),
        node("Div", ["t", "below"], ["soft"]),
        node("Mul", ["soft", "scale"], ["scaled"]),
        node("Add", ["scaled", "one"], ["shifted"]),
        node("Sqrt", ["shifted"], ["root"]),
        node("Mul", ["root", "small"], ["z"]),
    ]
    numbers = {"one": 1, "scale": scale, "small": 1e-4}
    weights = {name: np.float32(number) for name, number in numbers.items()} | {"negative": -np.abs(weight(D))}
    made = model(nodes, {"z": D}, **weights)
    if left is not None:
        check(made, ["Sigmoid", *left])
        return
    fewer_nodes(made.graph)  # below a negative number, the root is none of HardSigmoid's business
    assert [each.op_type for each in made.graph.node][-4:] == ["Mul", "Add", "Sqrt", "Mul"]


def test_ranges_hold_for_every_input() -> None:
    nodes = [
        node("Sigmoid", ["x"], ["a"]),
        node("Mul", ["a", "c"], ["b"]),
        node("Tanh", ["b"], ["t"]),
        node("Softsign", ["t"], ["s"]),
        node("Neg", ["s"], ["n"]),
        node("Split", ["n"], ["p", "q"], axis=1, num_outputs=2),
        node("Mul", ["x", "c"], ["free"]),
    ]
    names = ["a", "b", "t", "s", "n", "p", "q", "free"]
    made = model(nodes, {name: 2 if name in "pq" else D for name in names}, c=np.array([-3, -1, 0.5, 2], np.float32))
    wiring = Wiring(made.graph)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    x = np.concatenate([np.full((1, D), -1e30), np.full((1, D), 1e30), 50 * weight(500, D)]).astype(np.float32)
    for name, found in zip(names, session.run(names, {"x": x, "y": x}), strict=True):
        low, high = value_range(wiring, name)
        assert low - 1e-6 <= found.min()
        assert found.max() <= high + 1e-6
        assert np.isfinite([low, high]).all() == (name != "free")


@pytest.mark.parametrize("key", ["recblr", "glintru", "gru4rec"])
def test_a_model_with_any_weights_answers_as_its_torch_code(sample: Dataset, tmp_path: Path, key: str) -> None:
    import torch

    from deployrec.export.graphs import write_graphs

    module = random_model(key, sample).eval()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)
    write_graphs(module, tmp_path)
    state = {t.name: 0.3 * torch.randn(5, *t.shape, generator=draw) for t in module.state_spec.tensors}
    if "0.key_square" in state:
        state["0.key_square"].abs_()
    items = torch.randint(1, sample.num_items + 1, (5,), generator=draw)
    feed = {"item_id": items.numpy()} | {f"past.{name}": tensor.numpy() for name, tensor in state.items()}
    session = onnxruntime.InferenceSession(tmp_path / "advance.onnx")
    user, *present = session.run(None, feed)
    with torch.no_grad():
        expected, moved = module.double().step(items, {name: tensor.double() for name, tensor in state.items()})
    np.testing.assert_allclose(user, expected, atol=1e-5)
    for value, found in zip(session.get_outputs()[1:], present, strict=True):
        np.testing.assert_allclose(found, moved[value.name.removeprefix("present.")], atol=1e-4)
