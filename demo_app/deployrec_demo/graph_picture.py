"""An ONNX graph as a picture that can be read: operators grouped by module, modules by layer."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import onnx

SCORING = "scores and top-k"
INTAKE = "events"
End = tuple[str, str] | str
"""A box by its key, or a tensor by its name."""
OPERATORS = 3
"""Kinds of operators that a box names; the others are counted."""


@dataclass
class Box:
    """The operators of one module; `group` is its layer, or the module's own name outside of layers."""

    group: str
    name: str
    operators: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Picture:
    """Boxes by key in the graph's order, links between them and the graph's inputs and outputs, the number of nodes."""

    boxes: dict[tuple[str, str], Box]
    links: list[tuple[End, End]]
    inputs: list[str]
    outputs: list[str]
    nodes: int


def read_picture(path: str | Path) -> Picture:
    """Reads the structure of a graph, without its external weights."""
    graph = onnx.load(str(path), load_external_data=False).graph
    nodes = list(graph.node)
    inputs, outputs = [value.name for value in graph.input], [value.name for value in graph.output]
    producer = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    keys = _modules(nodes, producer, set(inputs))
    boxes: dict[tuple[str, str], Box] = {}
    links: dict[tuple[End, End], None] = {}
    for node, key in zip(nodes, keys, strict=True):
        boxes.setdefault(key, Box(*key)).operators[node.op_type] += 1
    for node, key in zip(nodes, keys, strict=True):
        for name in node.input:
            source = keys[producer[name]] if name in producer else name if name in inputs else None
            if source is not None and source != key:
                links[source, key] = None
        for name in node.output:
            if name in outputs:
                links[key, name] = None
    return Picture(boxes, list(links), inputs, outputs, len(nodes))


def dot(picture: Picture, dark: bool) -> str:
    """Graphviz text: a frame for each layer, a box for each module, state in the accent colour."""
    ink, line, fill, state = (
        ("#dfe7e7", "#4a585c", "#1a2124", "#12403c") if dark else ("#1b2326", "#b9c3c3", "#f1f3f2", "#d5f0ec")
    )
    names: dict[End, str] = {key: f"b{place}" for place, key in enumerate(picture.boxes)}
    names |= {name: f"t{place}" for place, name in enumerate([*picture.inputs, *picture.outputs])}
    lines = [
        "digraph {",
        "bgcolor=transparent; rankdir=TB; nodesep=.18; ranksep=.28",
        f'fontname="sans-serif"; fontcolor="{ink}"; fontsize=11',
        f'node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=10, margin=".1,.05", height=.3,'
        f' color="{line}", fillcolor="{fill}", fontcolor="{ink}"]',
        f'edge [color="{line}", arrowsize=.5]',
    ]
    for name in dict.fromkeys([*picture.inputs, *picture.outputs]):
        colour = state if name.startswith(("past.", "present.")) else "transparent"
        lines.append(f'{names[name]} [label={_quoted(name)}, shape=plain, style=filled, fillcolor="{colour}"]')
    for place, group in enumerate(dict.fromkeys(box.group for box in picture.boxes.values())):
        inside = [(key, box) for key, box in picture.boxes.items() if box.group == group]
        text = [f"{names[key]} [label={_quoted(_label(box))}]" for key, box in inside]
        if len(inside) > 1:
            frame = f'label={_quoted(group)}; color="{line}"; style="rounded"; labeljust=l'
            text = [f"subgraph cluster_{place} {{ {frame}", *text, "}"]
        lines += text
    lines += [f"{names[source]} -> {names[target]}" for source, target in picture.links]
    return "\n".join([*lines, "}"])


def _label(box: Box) -> str:
    named = box.operators.most_common(OPERATORS)
    rest = sum(box.operators.values()) - sum(count for _, count in named)
    parts = [f"{name} x{count}" if count > 1 else name for name, count in named] + ([f"{rest} more"] if rest else [])
    return "\n".join([box.name, *(", ".join(parts[at : at + 2]) for at in range(0, len(parts), 2))])


def _modules(nodes: list[onnx.NodeProto], producer: dict[str, int], inputs: set[str]) -> list[tuple[str, str]]:
    """Each node's module: the one whose weights or state it reads, else that of what it reads, else of its reader."""
    last = next((place for place, node in enumerate(nodes) if "user" in node.output), -1)
    keys: list[tuple[str, str] | None] = [None] * len(nodes)
    for place, node in enumerate(nodes):
        after = [producer[name] for name in node.input if name in producer]
        scored = ("user" in node.input or "exclude_items" in node.input) or any(
            keys[source] == (SCORING, SCORING) for source in after
        )
        own = [key for name in (*node.input, *node.output) if (key := _own(name, inputs))]
        known = [keys[source] for source in sorted(after, reverse=True) if keys[source]]
        if scored and place > last:
            keys[place] = (SCORING, SCORING)
        else:
            keys[place] = own[0] if own else known[0] if known else None
    for place in range(len(nodes) - 1, -1, -1):
        if keys[place] is None:
            readers = [
                keys[n]
                for n, node in enumerate(nodes)
                if set(node.output) and set(nodes[place].output) & set(node.input)
            ]
            keys[place] = next((key for key in readers if key), (INTAKE, INTAKE))
    return [key or (INTAKE, INTAKE) for key in keys]


def _own(name: str, inputs: set[str]) -> tuple[str, str] | None:
    """Layer and module of a weight ("model.layers.0.gates.weight") or of a state tensor ("past.0.hidden")."""
    state = re.fullmatch(r"(?:past|present)\.(\d+)\.(.+)", name)
    if state:
        return f"layer {state[1]}", state[2]
    weight = re.fullmatch(r"model\.(?:(.+)\.)?([^.]+)\.([^.]+)", name)
    if not weight or name in inputs:
        return None
    path = [*(weight[1].split(".") if weight[1] else []), weight[2]]
    number = next((place for place, part in enumerate(path) if part.isdigit()), None)
    if number is None:
        return path[0], path[0]
    return f"layer {path[number]}", ".".join(path[number + 1 :]) or path[number]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
