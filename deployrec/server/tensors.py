"""Tensors of the Open Inference Protocol v2, as JSON and as bytes behind it, against what a graph takes and gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, field

from deployrec.bundle.graph import GraphTensor
from deployrec.runtime.events import shown
from deployrec.server.bodies import decoded
from deployrec.server.problems import RequestError

KINDS: dict[str, np.dtype[Any]] = {"INT64": np.dtype("<i8"), "FP32": np.dtype("<f4")}
DATATYPES = {"int64": "INT64", "float32": "FP32"}
Arrays = dict[str, np.ndarray]
HEADER_LENGTH = "inference-header-content-length"
"""Bytes of the JSON in front of binary tensors, in requests and answers."""


class Tensor(Struct, omit_defaults=True):
    """A tensor of a request or an answer: `data` flat or nested, or `parameters.binary_data_size` bytes behind the
    JSON, little-endian."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = field(default_factory=dict)
    data: list[Any] | None = None


class Wanted(Struct):
    """An output to answer with; `parameters.binary_data` says how."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


class InferRequest(Struct):
    """One run of a graph."""

    inputs: list[Tensor]
    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    outputs: list[Wanted] | None = None


class InferAnswer(Struct, omit_defaults=True):
    """What the graph gave."""

    model_name: str
    model_version: str
    outputs: list[Tensor]
    id: str = ""


REQUEST = msgspec.json.Decoder(InferRequest)


def parse(content: bytes, header_length: str | None, signature: Sequence[GraphTensor]) -> tuple[InferRequest, Arrays]:
    """The request, and its tensors by name, each checked against the graph's inputs; raises 400."""
    if header_length is not None and not (header_length.isdigit() and int(header_length) <= len(content)):
        raise RequestError(
            400, f"expected {HEADER_LENGTH} up to the body's {len(content):,} bytes; got {header_length[:20]}; mend it"
        )
    size = len(content) if header_length is None else int(header_length)
    request = decoded(content[:size], REQUEST)
    arrays: Arrays = {}
    for tensor in request.inputs:
        binary = tensor.parameters.get("binary_data_size")
        if tensor.name in arrays:
            raise RequestError(400, f"expected each input once; got '{tensor.name}' again; leave it out")
        if binary is None:
            arrays[tensor.name] = _from_json(tensor)
        else:
            arrays[tensor.name] = _from_bytes(tensor, content, size, binary)
            size += binary
    if size != len(content):
        raise RequestError(400, f"expected {size:,} bytes, as the inputs say; got {len(content):,}; mend the sizes")
    _check(arrays, signature)
    return request, arrays


def render(request: InferRequest, model: str, version: str, arrays: Arrays) -> tuple[bytes, dict[str, str]]:
    """The answer's body and headers; raises 400 for an output that the graph has not."""
    wanted = [Wanted(name) for name in arrays] if request.outputs is None else request.outputs
    outputs, tail = [], []
    for want in wanted:
        if want.name not in arrays:
            raise RequestError(400, f"expected outputs ({', '.join(arrays)}); got '{want.name[:40]}'; leave it out")
        array = arrays[want.name]
        kind = next(name for name, dtype in KINDS.items() if dtype == array.dtype)
        tensor = Tensor(want.name, list(array.shape), kind)
        if want.parameters.get("binary_data", request.parameters.get("binary_data_output", False)):
            tail.append(array.tobytes())
            tensor.parameters = {"binary_data_size": len(tail[-1])}
        else:
            tensor.data = array.ravel().tolist()
        outputs.append(tensor)
    head = msgspec.json.encode(InferAnswer(model, version, outputs, request.id))
    if not tail:
        return head, {"content-type": "application/json"}
    return b"".join([head, *tail]), {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(head))}


def metadata(signature: Sequence[GraphTensor]) -> list[dict[str, Any]]:
    """Names, datatypes and shapes; -1 for an axis that a request decides."""
    return [
        {
            "name": tensor.name,
            "datatype": DATATYPES[tensor.dtype],
            "shape": [-1 if isinstance(axis, str) else axis for axis in tensor.shape],
        }
        for tensor in signature
    ]


def _from_json(tensor: Tensor) -> np.ndarray:
    dtype = _dtype(tensor)
    if min(tensor.shape, default=0) < 0:
        raise _no_shape(tensor)
    try:
        array = np.array(tensor.data or [])
        if array.size and array.dtype.kind not in ("i" if dtype.kind == "i" else "if"):
            raise ValueError(f"values of {array.dtype}")
        return array.astype(dtype).reshape(tensor.shape)
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise RequestError(
            400,
            f"expected {tensor.datatype} data of shape {tensor.shape} in '{tensor.name[:40]}'; got {error}; mend it",
        ) from None


def _from_bytes(tensor: Tensor, content: bytes, start: int, size: Any) -> np.ndarray:
    dtype = _dtype(tensor)
    number = math.prod(tensor.shape) if min(tensor.shape, default=0) >= 0 else -1
    if type(size) is not int or size != number * dtype.itemsize or start + size > len(content):
        raise RequestError(
            400,
            f"expected {tensor.shape} of {tensor.datatype} as bytes of '{tensor.name[:40]}'; got a size of "
            f"{shown(size)}, {len(content) - start:,} left; mend it",
        )
    return np.frombuffer(content, dtype, number, start).reshape(tensor.shape).copy()


def _dtype(tensor: Tensor) -> np.dtype:
    if tensor.datatype not in KINDS:
        raise RequestError(400, f"expected INT64 or FP32; got {shown(tensor.datatype)}; see the model's metadata")
    if max((abs(axis) for axis in tensor.shape), default=0) > 2**40 or len(tensor.shape) > 8:
        raise _no_shape(tensor)
    return KINDS[tensor.datatype]


def _no_shape(tensor: Tensor) -> RequestError:
    return RequestError(400, f"expected a shape; got {shown(tensor.shape)} of '{tensor.name[:40]}'; mend it")


def _check(arrays: Arrays, signature: Sequence[GraphTensor]) -> None:
    """Names, types and shapes; an axis of one name has one size everywhere."""
    expected = {tensor.name: tensor for tensor in signature}
    if set(arrays) != set(expected):
        raise RequestError(
            400, f"expected the inputs {', '.join(expected)}; got {', '.join(arrays)[:200] or 'none'}; send these"
        )
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        tensor = expected[name]
        fits = array.dtype == KINDS[DATATYPES[tensor.dtype]] and array.ndim == len(tensor.shape)
        for axis, size in zip(tensor.shape, array.shape, strict=False):
            fits = fits and size > 0 and size == (sizes.setdefault(axis, size) if isinstance(axis, str) else axis)
        if not fits:
            shape = [sizes.get(axis, axis) if isinstance(axis, str) else axis for axis in tensor.shape]
            raise RequestError(
                400,
                f"expected '{name}' as {DATATYPES[tensor.dtype]} of shape {shape}; got {array.dtype} of "
                f"{list(array.shape)}; mend it",
            )
