"""Somebody's own recurrent step as an ONNX graph: which input is the item, which pairs are the state, what the scores.

A graph is fit if it reads one item a row and the state, answers with a score for every item and the state's next value,
and keeps the rows of a batch apart, whatever framework it is from.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import onnx
import onnx.inliner

from deployrec.errors import ConfigError
from deployrec.files import first_line
from deployrec.state import StateSpec, StateTensor

OLDEST_OPSET = 13
"""Before it Squeeze and Unsqueeze take their axes otherwise than in the nodes that are added here."""
STANDARD = ("", "ai.onnx")
INTEGERS = {int(onnx.TensorProto.INT64): "int64", int(onnx.TensorProto.INT32): "int32"}
FLOAT = int(onnx.TensorProto.FLOAT)

Shape = list[int | str]
"""An open axis is a name, "?" where the graph gives it none."""


class Port(NamedTuple):
    """An input or output of the graph; dtype as onnx.TensorProto numbers it."""

    name: str
    dtype: int
    shape: Shape


@dataclass(frozen=True)
class StatePort:
    """One state tensor: its name in a bundle, the pair in the graph, where the batch axis is, and whether it counts in
    whole numbers."""

    name: str
    past: Port
    present: str
    batch_axis: int

    @property
    def tensor(self) -> StateTensor:
        sizes = [size for axis, size in enumerate(self.past.shape) if axis != self.batch_axis]
        return StateTensor(self.name, tuple(int(size) for size in sizes))


@dataclass(frozen=True, eq=False)
class StepGraph:
    """model: the graph with functions inlined; scores: the name of the output [B, N] or [B, N + 1]."""

    path: Path
    model: onnx.ModelProto
    item: Port
    states: tuple[StatePort, ...]
    scores: str

    @property
    def spec(self) -> StateSpec:
        return StateSpec(tuple(state.tensor for state in self.states))

    @property
    def opset(self) -> int:
        return _opset(self.model)

    @classmethod
    def read(cls, path: str | Path, pairs: Sequence[str], scores: str | None = None) -> StepGraph:
        """pairs: "past.*=present.*" or "h_in=h_out", inputs and the outputs that are their next values; scores: the
        name of the output of scores, where there are several. Raises ConfigError, in one line, for an unfit graph."""
        path = Path(path)
        model = _load(path)
        inputs, outputs = _ports(model)
        states = _states(path, pairs, inputs, outputs)
        taken = {state.past.name for state in states}
        others = [port for port in inputs if port.name not in taken]
        if len(others) != 1 or others[0].dtype not in INTEGERS:
            got = ", ".join(_shown(port) for port in others) or "none"
            raise _unfit(
                path,
                "one input of item numbers (int64 or int32 [B] or [B, 1]) beside the state",
                got,
                "name the state with --state, and leave out other inputs",
            )
        item = others[0]
        if len(item.shape) not in (1, 2) or not isinstance(item.shape[0], str) or item.shape[1:] not in ([], [1]):
            raise _unfit(
                path, "items [B] or [B, 1] with an open batch axis", _shown(item), "export it with a dynamic axis"
            )
        following = {state.present for state in states}
        rest = [port.name for port in outputs if port.name not in following]
        return cls(path, model, item, states, _scores(path, rest, scores))


def used_names(node: onnx.NodeProto) -> Iterator[str]:
    """Every value that a node reads, within its subgraphs too."""
    yield from (name for name in node.input if name)
    for graph in subgraphs(node):
        for inner in graph.node:
            yield from used_names(inner)
        yield from (value.name for value in graph.output)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _load(path: Path) -> onnx.ModelProto:
    """The model with its numbers and without functions; ConfigError for what cannot stand in a bundle's graph."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
        model = onnx.inliner.inline_local_functions(model)
        model = onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # protobuf's, the checker's and the inliner's errors share no base
        raise _unfit(path, "an ONNX file", first_line(error), "check the path, or export it again") from None
    if (opset := _opset(model)) < OLDEST_OPSET:
        raise _unfit(path, f"opset {OLDEST_OPSET} or later", f"opset {opset}", "export it with a later opset")
    if model.graph.sparse_initializer:
        raise _unfit(path, "dense weights", "sparse ones", "export them dense")
    _check_nodes(path, model.graph)
    return model


def _check_nodes(path: Path, graph: onnx.GraphProto) -> None:
    for node in graph.node:
        if node.domain not in STANDARD:
            raise _unfit(
                path,
                "ONNX's own operators, which every runtime has",
                f"{node.op_type} of {node.domain}",
                "export it without optimisations of one runtime",
            )
        if node.op_type in ("Loop", "Scan"):
            raise _unfit(
                path, "a step of one event", f"a {node.op_type} over time", "export one step of the recurrence"
            )
        for inner in subgraphs(node):
            _check_nodes(path, inner)


def _opset(model: onnx.ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in STANDARD), default=0)


def _ports(model: onnx.ModelProto) -> tuple[list[Port], list[Port]]:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [_port(value) for value in model.graph.input if value.name not in weights]
    return inputs, [_port(value) for value in model.graph.output]


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    # Some exporters write -1 for an open axis.
    sized = [axis.HasField("dim_value") and axis.dim_value >= 0 for axis in tensor.shape.dim]
    axes = [
        axis.dim_value if size else axis.dim_param or "?" for axis, size in zip(tensor.shape.dim, sized, strict=True)
    ]
    return Port(value.name, tensor.elem_type, axes)


def _states(path: Path, pairs: Sequence[str], inputs: Sequence[Port], outputs: Sequence[Port]) -> tuple[StatePort, ...]:
    names = {port.name: port for port in outputs}
    found: dict[str, StatePort] = {}
    for pair in pairs:
        past, equals, present = pair.partition("=")
        if not equals or past.count("*") != present.count("*") or past.count("*") > 1:
            raise ConfigError(f"expected --state as past.*=present.* or input=output; got '{pair}'; write it so")
        matched = [port for port in inputs if fnmatch.fnmatchcase(port.name, _literal(past))]
        if not matched:
            there = ", ".join(port.name for port in inputs)
            raise _unfit(path, f"an input like '{past}'", there, "name the state's inputs as the graph does")
        for port in matched:
            middle = _middle(port.name, past)
            output = present.replace("*", middle)
            if output not in names:
                raise _unfit(
                    path, f"the output '{output}' of the input '{port.name}'", ", ".join(names), "name both sides"
                )
            found[port.name] = _state(path, middle or port.name, port, names[output])
    if not found:
        raise ConfigError("expected a state; got no --state; name it as past.*=present.* or input=output")
    states = tuple(found.values())
    if len({state.name for state in states}) < len(states) or len({s.present for s in states}) < len(states):
        raise _unfit(path, "different names and outputs of all state tensors", "some twice", "name each pair once")
    return states


def _state(path: Path, name: str, past: Port, present: Port) -> StatePort:
    if past.dtype not in (FLOAT, *INTEGERS):
        raise _unfit(path, "a state of float32 or whole numbers", _shown(past), "convert the graph to float32")
    if any(size == 0 for size in past.shape):
        raise _unfit(path, "a state with numbers in it", _shown(past), "leave an empty state out of the graph")
    if present.dtype != past.dtype:
        raise _unfit(path, f"a next value of the type of {_shown(past)}", _shown(present), "cast it in the graph")
    open_axes = [axis for axis, size in enumerate(past.shape) if isinstance(size, str)]
    if len(open_axes) != 1:
        raise _unfit(
            path,
            "one open axis of every state, that of the batch",
            _shown(past),
            "export it with a dynamic batch axis and fixed sizes: a state that grows with the history is none",
        )
    return StatePort(name, past, present.name, open_axes[0])


def _scores(path: Path, outputs: Sequence[str], named: str | None) -> str:
    if named is not None and named not in outputs:
        raise _unfit(path, f"the output '{named}'", ", ".join(outputs) or "none", "name an output with --scores")
    if named is None and len(outputs) != 1:
        raise _unfit(
            path, "one output of scores beside the state", ", ".join(outputs) or "none", "name it with --scores"
        )
    return named or outputs[0]


def _literal(pattern: str) -> str:
    """Brackets and question marks of a name mean themselves."""
    return "".join(f"[{letter}]" if letter in "[?" else letter for letter in pattern)


def _middle(name: str, pattern: str) -> str:
    """What the star of a pattern stands for; "" without one."""
    before, star, after = pattern.partition("*")
    return name[len(before) : len(name) - len(after)] if star else ""


def _shown(port: Port) -> str:
    kind = onnx.helper.tensor_dtype_to_string(port.dtype).removeprefix("TensorProto.").lower()
    return f"{port.name} {kind} [{', '.join(map(str, port.shape))}]"


def _unfit(path: Path, expected: str, got: str, advice: str) -> ConfigError:
    return ConfigError(f"expected {expected} in {path}; got {got}; {advice}")
