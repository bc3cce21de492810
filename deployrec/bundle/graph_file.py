"""What a graph file says of itself, read without the onnx package, and refused where a bundle's graph never says it.

Reads the protobuf encoding of onnx.proto (https://onnx.ai/onnx/repo-docs/IR.html) by field numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

DTYPES = {1: "float32", 3: "int8", 7: "int64", 10: "float16"}
STANDARD = ("", "ai.onnx")
MOST_DEPTH = 8
"""Graphs inside a graph's nodes: a recurrence's body has two, an If and a Scan."""


class External(NamedTuple):
    """An initializer whose numbers lie in another file: [*shape] from `offset` on, for `length` bytes."""

    name: str
    location: str
    offset: int
    length: int
    dtype: str
    shape: tuple[int, ...]


class Value(NamedTuple):
    """An input or output; an axis is a number or a name."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphFile:
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    external: tuple[External, ...]

    @classmethod
    def read(cls, content: bytes) -> GraphFile:
        """Reads the bytes of an ONNX file.

        Raises ValueError, in one line, for a broken one and for what is in no bundle's graph: a Loop, which need never
        end; a Scan in a Scan; operators that are neither ONNX's nor a function of the file; functions that call
        functions or take graphs; and numbers in other files but those of the graph's own initializers.
        """
        model = _Message(memoryview(content))
        functions = [_Message(function) for function in model.all(25)]
        names = {(function.text(10), function.text(1)) for function in functions}
        for domain, name in names:
            if domain in STANDARD:
                raise ValueError(f"a function of ONNX's own domain, {name}")
        for function in functions:
            _check_nodes(function.all(7), Place(frozenset(), depth=1))
            _check_attributes(function.all(11), Place(frozenset(), depth=1))
        if model.all(20):
            raise ValueError("a graph for training")
        graph = model.one(7)
        _check_nodes(graph.all(1), Place(frozenset(names), depth=0))
        _check_dense(graph)
        return cls(
            inputs=tuple(map(_value, graph.messages(11))),
            outputs=tuple(map(_value, graph.messages(12))),
            external=tuple(_external(tensor) for tensor in graph.messages(5) if _is_external(tensor)),
        )


class Place(NamedTuple):
    """Where a node stands: what it may call, how many graphs are around it, and whether one of them is a Scan's."""

    functions: frozenset[tuple[str, str]]
    depth: int
    in_scan: bool = False


def _check_nodes(nodes: list[memoryview], place: Place) -> None:
    if place.depth > MOST_DEPTH:
        raise ValueError(f"graphs inside graphs more than {MOST_DEPTH} deep")
    for node in map(_Message, nodes):
        operator, domain = node.text(4), node.text(7)
        if domain not in STANDARD and (domain, operator) not in place.functions:
            raise ValueError(
                f"the operator {operator} of '{domain}', which is neither ONNX's nor a function of the file"
            )
        if domain not in STANDARD and (place.in_scan or any(a.all(6) or a.all(11) for a in node.messages(5))):
            raise ValueError(f"the function {operator} inside a Scan or over graphs")
        if domain in STANDARD and operator == "Loop":
            raise ValueError("a Loop, which need never end; loop over time by deployrec.models.unroll")
        if domain in STANDARD and operator == "Scan" and place.in_scan:
            raise ValueError("a Scan inside a Scan")
        inside = place._replace(depth=place.depth + 1, in_scan=place.in_scan or operator == "Scan")
        _check_attributes(node.all(5), inside)


def _check_attributes(attributes: list[memoryview], inside: Place) -> None:
    """Checks the constants of nodes, and the graphs inside them, which stand at `inside`."""
    for attribute in map(_Message, attributes):
        for tensor in (attribute.one(5), *attribute.messages(10)):
            _check_inline(tensor)
        if attribute.all(22) or attribute.all(23):
            raise ValueError("a sparse tensor")
        for body in (attribute.one(6), *attribute.messages(11)):
            _check_nodes(body.all(1), inside)
            _check_dense(body)
            for tensor in body.messages(5):
                _check_inline(tensor)


def _check_dense(graph: _Message) -> None:
    if graph.all(15):
        raise ValueError("a sparse tensor")


def _check_inline(tensor: _Message) -> None:
    if _is_external(tensor):
        raise ValueError(f"the constant '{tensor.text(8)}' with its numbers in another file")


def _is_external(tensor: _Message) -> bool:
    return tensor.number(14) != 0 or bool(tensor.all(13))


def _external(tensor: _Message) -> External:
    entries = [(entry.text(1), entry.text(2)) for entry in tensor.messages(13)]
    found = {"offset": "0", "length": "-1", "location": ""} | dict(entries)
    if len(dict(entries)) < len(entries):
        raise ValueError(f"the initializer '{tensor.text(8)}' with a place given twice")
    return External(
        tensor.text(8),
        found["location"],
        int(found["offset"]),
        int(found["length"]),
        _dtype(tensor.number(2)),
        tuple(tensor.numbers(1)),
    )


def _value(value: _Message) -> Value:
    tensor = value.one(2).one(1)
    axes = tensor.one(2).messages(1)
    return Value(value.text(1), _dtype(tensor.number(1)), tuple(axis.text(2) or axis.number(1) for axis in axes))


def _dtype(number: int) -> str:
    return DTYPES.get(number, f"type {number}")


class _Message:
    """One protobuf message; a field that is not there is empty, 0 or a message without fields."""

    def __init__(self, content: memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        position = 0
        while position < len(content):
            key, position = _varint(content, position)
            kind, value = key & 7, 0
            if kind == 0:
                value, position = _varint(content, position)
                self._fields.setdefault(key >> 3, []).append(value)
                continue
            if kind == 2:
                length, position = _varint(content, position)
            elif kind in (1, 5):
                length = 8 if kind == 1 else 4
            else:
                raise ValueError(f"a broken file (wire type {kind})")
            if length > len(content) - position:
                raise ValueError("a broken file (a field that runs beyond the end)")
            self._fields.setdefault(key >> 3, []).append(content[position : position + length])
            position += length

    def all(self, number: int) -> list[memoryview]:
        """The bytes of a repeated field."""
        found = self._fields.get(number, [])
        if any(isinstance(value, int) for value in found):
            raise ValueError(f"a broken file (field {number} is a number)")
        return found  # type: ignore[return-value]

    def messages(self, number: int) -> list[_Message]:
        return [_Message(value) for value in self.all(number)]

    def one(self, number: int) -> _Message:
        """A single message; as every reader does, what is there twice is read as one behind the other."""
        return _Message(memoryview(b"".join(self.all(number))))

    def text(self, number: int) -> str:
        found = self.all(number)
        return bytes(found[-1]).decode() if found else ""

    def number(self, number: int) -> int:
        return next(reversed(self.numbers(number)), 0)

    def numbers(self, number: int) -> list[int]:
        """Signed whole numbers, one by one or packed."""
        found = []
        for value in self._fields.get(number, []):
            if isinstance(value, int):
                found.append(value)
                continue
            position = 0
            while position < len(value):
                entry, position = _varint(value, position)
                found.append(entry)
        return [value - 2**64 if value >= 2**63 else value for value in found]


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    """The number at `position`, and where the next field begins."""
    value = 0
    for place in range(10):
        if position + place >= len(content):
            raise ValueError("a broken file (it ends within a number)")
        byte = content[position + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & 2**64 - 1, position + place + 1
    raise ValueError("a broken file (a number without end)")
