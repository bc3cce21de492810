"""Graphs with fewer nodes for the same answers: at one user a request, their number is what a step costs."""

from __future__ import annotations

import onnx


def drop_unused(graph: onnx.GraphProto) -> None:
    """Removes the nodes and constants that no output is made of."""
    needed = {value.name for value in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
            needed.update(name for attribute in node.attribute for name in _read_inside(attribute))
    for tensor in list(graph.initializer):
        if tensor.name not in needed:
            graph.initializer.remove(tensor)


def _read_inside(attribute: onnx.AttributeProto) -> set[str]:
    """What the graphs inside a node read, theirs or from outside."""
    graphs = [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
    read = set()
    for graph in graphs:
        for node in graph.node:
            read.update(node.input)
            for inner in node.attribute:
                read |= _read_inside(inner)
        read.update(value.name for value in graph.output)
    return read
