"""Writes a bundle as a model repository of Triton Inference Server.

| model | backend | state |
|---|---|---|
| step | onnxruntime | kept by Triton from request to request of a sequence (implicit state) |
| step_stateless | onnxruntime | comes and goes with every request, as tensors |
| encode | onnxruntime | the same, over whole histories |
| recommender | python | kept by deployrec in a store: ids and titles, exactly once, over restarts and model swaps |
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.graph import GraphTensor
from deployrec.bundle.manifest import ITEM_TABLE
from deployrec.errors import BundleError, ConfigError
from deployrec.folders import place_new, staging

TYPES = {"int64": pb.TYPE_INT64, "float32": pb.TYPE_FP32}
MODEL = 'from deployrec.triton.model import TritonPythonModel\n\n__all__ = ["TritonPythonModel"]\n'
MICROSECONDS = 1000
"""How long Triton's dynamic batcher may hold a request back."""


def build_repository(bundle: Bundle, out: Path, k: int = 100, max_batch: int = 256, store: str = "memory") -> list[str]:
    """Writes the repository to a new folder, whole or not at all; returns the names of its models.

    k: items of a list, fixed in the graphs, for Triton batches over every input's first axis; store: of the python
    model. Raises ConfigError for a folder that exists or a k that no list can have, BundleError for a bundle without
    a step graph, or a disk that refuses.
    """
    if out.exists():
        raise ConfigError(f"expected a new folder; got {out}, which exists; pass another --out or remove it")
    if not 1 <= k <= bundle.manifest.num_items:
        raise ConfigError(f"expected k from 1 to {bundle.manifest.num_items}; got {k}; pass another --k")
    if not 1 <= max_batch <= 65_536:
        raise ConfigError(f"expected --max-batch from 1 to 65,536; got {max_batch}; pass another")
    graphs = {"step": "step", "step_stateless": "step", "encode": "encode"}
    if "step" not in bundle.manifest.graphs:
        graphs = {"encode": "encode"}
    try:
        with staging(Path(os.path.realpath(out))) as folder:
            for name, graph in graphs.items():
                _graph_model(bundle, folder / name, graph, k, max_batch, implicit=name == "step")
            _python_model(bundle, folder / "recommender", k, max_batch, store)
            place_new(folder, Path(os.path.realpath(out)))
    except OSError as error:
        raise BundleError(f"expected to write {out}; got '{error}'; free disk space or pass another --out") from error
    return [*graphs, "recommender"]


def _graph_model(bundle: Bundle, folder: Path, graph: str, k: int, max_batch: int, implicit: bool) -> None:
    signature = bundle.manifest.graphs[graph]
    config = pb.ModelConfig(name=folder.name, backend="onnxruntime", max_batch_size=max_batch)
    states = {tensor.past: tensor.present for tensor in bundle.manifest.state.tensors} if implicit else {}
    for tensor in signature.inputs:
        if tensor.name != "k" and tensor.name not in states:
            _describe(config.input.add(), tensor, k)
    for tensor in signature.outputs:
        if tensor.name not in states.values():
            _describe(config.output.add(), tensor, k)
    if implicit:
        config.sequence_batching.oldest.max_candidate_sequences = 4 * max_batch
        config.sequence_batching.oldest.max_queue_delay_microseconds = MICROSECONDS
        config.sequence_batching.max_sequence_idle_microseconds = 600 * 10**6
        for kept in bundle.manifest.state.tensors:
            state = config.sequence_batching.state.add(
                input_name=kept.past, output_name=kept.present, data_type=pb.TYPE_FP32, dims=kept.shape
            )
            state.initial_state.add(name="start", data_type=pb.TYPE_FP32, dims=kept.shape, zero_data=True)
    else:
        config.dynamic_batching.max_queue_delay_microseconds = MICROSECONDS
    _write(folder, config)
    content, shared = bundle.graph(graph)
    (folder / "1" / "model.onnx").write_bytes(_with_k(content, k) if graph == "step" else content)
    if shared:
        (folder / "1" / ITEM_TABLE).write_bytes(bundle.read(ITEM_TABLE))


def _python_model(bundle: Bundle, folder: Path, k: int, max_batch: int, store: str) -> None:
    config = pb.ModelConfig(name=folder.name, backend="python", max_batch_size=max_batch)
    for name in ("user", "item", "event_id", "time", "now"):
        needed = name in ("user", "item")
        config.input.add(name=name, data_type=pb.TYPE_STRING, dims=[1], optional=not needed)
    for name, kind, width in (
        ("outcome", pb.TYPE_STRING, 1), ("item_ids", pb.TYPE_STRING, k), ("titles", pb.TYPE_STRING, k),
        ("scores", pb.TYPE_FP32, k),
    ):  # fmt: skip
        config.output.add(name=name, data_type=kind, dims=[width])
    config.dynamic_batching.max_queue_delay_microseconds = MICROSECONDS
    config.instance_group.add(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)
    for name, value in (("store", store), ("k", str(k))):
        config.parameters[name].string_value = value
    _write(folder, config)
    (folder / "1" / "model.py").write_text(MODEL)
    shutil.copytree(bundle.path, folder / "1" / "bundle")


def _describe(into: Any, tensor: GraphTensor, k: int) -> None:
    """A tensor without its batch axis; Triton wants an axis where none is left."""
    sizes = [k if axis == "K" else -1 if isinstance(axis, str) else axis for axis in tensor.shape[1:]]
    into.name, into.data_type = tensor.name, TYPES[tensor.dtype]
    into.dims.extend(sizes or [1])
    if not sizes:
        into.reshape.SetInParent()


def _with_k(content: bytes, k: int) -> bytes:
    """The graph with the number of items as a constant: as an input it would have no batch axis.

    Protobuf reads a message that stands twice as one: what is appended is a graph of one initializer, k: int64 [1]. An
    input that has an initializer need not be given.
    """
    tensor = b"\x08\x01\x10\x07\x42\x01k\x4a\x08" + k.to_bytes(8, "little")
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    return content + b"\x3a" + bytes([len(graph)]) + graph


def _write(folder: Path, config: pb.ModelConfig) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(text_format.MessageToString(config))
