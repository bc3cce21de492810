"""The picture of a graph: every operator is in one box, and every box and tensor is joined as in the graph."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from deployrec_demo.graph_picture import SCORING, dot, read_picture


@pytest.mark.parametrize("key", ["recblr", "glintru"])
@pytest.mark.parametrize("graph", ["step", "advance", "encode", "score"])
def test_pictures_of_real_graphs(bundle_of: Callable[[str], Path], key: str, graph: str) -> None:
    path = bundle_of(key) / f"{graph}.onnx"
    picture, model = read_picture(path), onnx.load(str(path), load_external_data=False).graph
    assert sum(sum(box.operators.values()) for box in picture.boxes.values()) == len(model.node) == picture.nodes
    scored = graph in ("step", "score")
    assert (SCORING in {group for group, _ in picture.boxes}) == scored
    state = {value.name for value in (*model.input, *model.output) if value.name.startswith(("past.", "present."))}
    joined = {end for link in picture.links for end in link if isinstance(end, str)}
    assert state <= joined
    if scored:
        assert {"topk_items", "topk_scores", "exclude_items", "k"} <= joined
    assert all(source != target for source, target in picture.links)
    for name in sorted(state) if key == "recblr" else ():  # whose weights lie in numbered layers as its state does
        layer = f"layer {name.split('.')[1]}"
        partners = {end for link in picture.links if name in link for end in link if end != name}
        assert layer in {end[0] for end in partners if isinstance(end, tuple)}


def test_the_text_declares_every_end_of_every_link(bundle_of: Callable[[str], Path]) -> None:
    text = dot(read_picture(bundle_of("recblr") / "step.onnx"), dark=True)
    declared = set(re.findall(r"^(?:subgraph.*)?([bt]\d+) \[label", text, re.M))
    linked = set(re.findall(r"\b([bt]\d+) ->", text)) | set(re.findall(r"-> ([bt]\d+)", text))
    assert linked <= declared
    assert linked
    assert text.count("{") == text.count("}")
    assert 'label="layer 0"' in text
    assert 'label="layer 1"' in text


def test_operators_without_weights_belong_to_what_they_read() -> None:
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Shape", ["x"], ["s"]),
            node("MatMul", ["x", "model.layers.0.gate.weight"], ["a"]),
            node("Sigmoid", ["a"], ["b"]),
            node("Mul", ["b", "past.0.hidden"], ["h"]),
            node("Identity", ["h"], ["present.0.hidden"]),
            node("Add", ["a", "h"], ["sum"]),
            node("Add", ["sum", "s"], ["user"]),
            node("TopK", ["user", "k"], ["topk_scores", "topk_items"]),
        ],
        "g",
        [onnx.helper.make_tensor_value_info(name, 1, ["B"]) for name in ("x", "past.0.hidden")],
        [onnx.helper.make_tensor_value_info(name, 1, ["B"]) for name in ("present.0.hidden", "user", "topk_items")],
    )
    from deployrec_demo.graph_picture import _modules

    producer = {name: place for place, one in enumerate(graph.node) for name in one.output}
    gate, hidden = ("layer 0", "gate"), ("layer 0", "hidden")
    keys = _modules(list(graph.node), producer, {"x", "past.0.hidden"})
    assert keys == [hidden, gate, gate, hidden, hidden, hidden, hidden, (SCORING, SCORING)]
