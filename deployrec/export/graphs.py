"""A trained model as ONNX graphs: step, encode and score, which share one external item table."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from deployrec.bundle.manifest import ITEM_TABLE, Graph, GraphTensor
from deployrec.errors import ConfigError
from deployrec.export.onnx_bodies import add_bodies
from deployrec.export.onnx_ops import OPSET, translations
from deployrec.files import first_line
from deployrec.models import SequentialRecommender, State
from deployrec.progress import Progress, silent
from deployrec.state import StateSpec


def write_graphs(
    model: SequentialRecommender, folder: Path, top_k: int, progress: Progress = silent
) -> dict[str, Graph]:
    """Writes every graph the model has into `folder`, beside the item table they share; returns their signatures.

    The model is expected in float32 on the CPU. One with an empty state spec gets no step graph.
    """
    model.eval()
    kinds: dict[str, type[nn.Module]] = {"step": StepGraph, "encode": EncodeGraph, "score": ScoreGraph}
    if not model.state_spec.tensors:
        del kinds["step"]
    table = model.embedding.weight.detach().numpy()
    table.tofile(folder / ITEM_TABLE)
    signatures = {}
    for number, (name, kind) in enumerate(kinds.items()):
        progress(number, len(kinds), f"writing the {name} graph")
        signatures[name] = signature(model, name, top_k)
        graph = to_onnx(kind(model, top_k), signatures[name])
        _share_table(graph, table)
        _describe(graph, model.state_spec)
        onnx.save_model(graph, str(folder / signatures[name].file))
    return signatures


def signature(model: SequentialRecommender, graph: str, top_k: int) -> Graph:
    """File, inputs and outputs of the "step", "encode" or "score" graph; a named axis is dynamic."""
    user = GraphTensor("user", "float32", ("B", model.config.dim))
    exclude = GraphTensor("exclude_items", "int64", ("B", "E"))
    best = (GraphTensor("topk_items", "int64", ("B", top_k)), GraphTensor("topk_scores", "float32", ("B", top_k)))
    past = tuple(GraphTensor(t.past, t.dtype, ("B", *t.shape)) for t in model.state_spec.tensors)
    present = tuple(GraphTensor(t.present, t.dtype, ("B", *t.shape)) for t in model.state_spec.tensors)
    if graph == "score":
        return Graph("score.onnx", (user, exclude), best)
    events: tuple[GraphTensor, ...] = (GraphTensor("item_id", "int64", ("B",)),)
    if graph == "encode":
        events = (GraphTensor("item_ids", "int64", ("B", "T")), GraphTensor("lengths", "int64", ("B",)))
    return Graph(f"{graph}.onnx", (*events, exclude, *past), (*best, user, *present))


class StepGraph(nn.Module):
    """One event a row: `item_id` [B] and past state -> the recommendation and present state."""

    def __init__(self, model: SequentialRecommender, top_k: int) -> None:
        super().__init__()
        self.model, self.top_k = model, top_k

    def forward(self, item_id: Tensor, exclude_items: Tensor, past: list[Tensor]) -> tuple[Tensor, ...]:
        user, present = self.model.step(item_id, _named(self.model.state_spec, past))
        return *recommend(self.model, user, exclude_items, self.top_k), user, *_ordered(self.model.state_spec, present)


class EncodeGraph(nn.Module):
    """A stretch of history a row: `item_ids` [B, T], `lengths` [B] and past state -> the same outputs as a step."""

    def __init__(self, model: SequentialRecommender, top_k: int) -> None:
        super().__init__()
        self.model, self.top_k = model, top_k

    def forward(
        self, item_ids: Tensor, lengths: Tensor, exclude_items: Tensor, past: Sequence[Tensor] = ()
    ) -> tuple[Tensor, ...]:
        user, present = self.model.encode_last(item_ids, lengths, _named(self.model.state_spec, past))
        return *recommend(self.model, user, exclude_items, self.top_k), user, *_ordered(self.model.state_spec, present)


class ScoreGraph(nn.Module):
    """A stored user vector [B, D] -> the recommendation, without a new event."""

    def __init__(self, model: SequentialRecommender, top_k: int) -> None:
        super().__init__()
        self.model, self.top_k = model, top_k

    def forward(self, user: Tensor, exclude_items: Tensor) -> tuple[Tensor, ...]:
        return recommend(self.model, user, exclude_items, self.top_k)


def recommend(model: SequentialRecommender, user: Tensor, exclude_items: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The `top_k` best items [B, K] int64 and their scores for user vectors [B, D], without `exclude_items` [B, E].

    Excluded items are padded with 0. A slot that no item is left for holds item 0 with score -inf.
    """
    scores = model.score(user).scatter(1, exclude_items, -torch.inf)
    values, items = torch.topk(scores, top_k, dim=1)
    return torch.where(values == -torch.inf, 0, items), values


def to_onnx(module: nn.Module, signature: Graph) -> onnx.ModelProto:
    """Traces `module` with dynamic named axes and translates it; recurrences stay single nodes with a body."""
    sizes = {"B": 3, "T": 5, "E": 4}
    examples, shapes = [], []
    for tensor in signature.inputs:
        size = [sizes[axis] if isinstance(axis, str) else axis for axis in tensor.shape]
        examples.append(torch.ones(size, dtype=getattr(torch, tensor.dtype)))
        shapes.append({n: Dim.DYNAMIC for n, axis in enumerate(tensor.shape) if isinstance(axis, str)})
    own = sum(not tensor.name.startswith("past.") for tensor in signature.inputs)
    grouped = own < len(examples)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                module.eval(),
                (*examples[:own], examples[own:]) if grouped else tuple(examples),
                input_names=[tensor.name for tensor in signature.inputs],
                output_names=[tensor.name for tensor in signature.outputs],
                dynamic_shapes=(*shapes[:own], shapes[own:]) if grouped else tuple(shapes),
                opset_version=OPSET,
                custom_translation_table=translations(),
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise _not_exported(signature, error) from error
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # the exporter's stack traces, with paths of the machine that exported
    add_bodies(model)
    _name_axes(model, signature)
    return model


def _not_exported(signature: Graph, error: Exception) -> ConfigError:
    cause = error.__cause__ or error
    return ConfigError(
        f"expected {signature.file} to export from the model's torch code; got {type(cause).__name__}: "
        f"{first_line(cause)}; loop over time by deployrec.models.unroll, and let no Python branch read a tensor"
    )


def _other_shape(tensor: GraphTensor, found: str) -> ConfigError:
    return ConfigError(
        f"expected {tensor.name} of shape {tensor.shape} in the exported graph; got {found}; "
        "keep its axes in the model's torch code, and those of batch and time open"
    )


def _named(spec: StateSpec, tensors: Sequence[Tensor]) -> State:
    return {t.name: tensor for t, tensor in zip(spec.tensors, tensors, strict=True)}


def _ordered(spec: StateSpec, state: State) -> list[Tensor]:
    return [state[t.name] for t in spec.tensors]


def _share_table(model: onnx.ModelProto, table: np.ndarray) -> None:
    """Points the item table's initializer at `items.bin`, which all graphs of the bundle read."""
    content = table.tobytes()
    found = [i for i in model.graph.initializer if tuple(i.dims) == table.shape and i.raw_data == content]
    if len(found) != 1:
        raise ConfigError(
            f"expected the item table once in a graph; got it {len(found)} times; "
            "look items up in self.embedding and keep SequentialRecommender.score"
        )
    (initializer,) = found
    initializer.ClearField("raw_data")
    initializer.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", ITEM_TABLE), ("offset", "0"), ("length", str(table.nbytes))):
        initializer.external_data.add(key=key, value=value)


def _describe(model: onnx.ModelProto, spec: StateSpec) -> None:
    """Writes the state's input and output pairs into the graph's metadata, where a session can read them."""
    pairs = {t.past: t.present for t in spec.tensors if any(i.name == t.past for i in model.graph.input)}
    onnx.helper.set_model_props(model, {"deployrec.state": json.dumps(pairs)})


def _name_axes(model: onnx.ModelProto, signature: Graph) -> None:
    """Gives dynamic axes their declared names, and refuses an axis that the exporter fixed or left open by itself."""
    for declared, values in ((signature.inputs, model.graph.input), (signature.outputs, model.graph.output)):
        for tensor, value in zip(declared, values, strict=True):
            axes = value.type.tensor_type.shape.dim
            found = [axis.dim_param or axis.dim_value for axis in axes]
            if value.name != tensor.name or len(found) != len(tensor.shape):
                raise _other_shape(tensor, f"{value.name} {found}")
            for axis, name in zip(axes, tensor.shape, strict=True):
                if isinstance(name, str) == bool(axis.dim_value) or (isinstance(name, int) and axis.dim_value != name):
                    raise _other_shape(tensor, str(found))
                if isinstance(name, str):
                    axis.dim_param = name
    del model.graph.value_info[:]
