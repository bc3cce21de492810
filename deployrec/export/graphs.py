"""A trained model as ONNX graphs: step, advance, encode, score and, of a time-aware one, moment; all share one external
item table."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from deployrec.bundle.graph import Graph, GraphTensor
from deployrec.bundle.manifest import ITEM_TABLE
from deployrec.bundle.time_facts import TimeFacts
from deployrec.errors import ConfigError
from deployrec.export.fewer_nodes import fewer_nodes
from deployrec.export.onnx_bodies import add_bodies
from deployrec.export.onnx_ops import OPSET, translations
from deployrec.files import first_line
from deployrec.models import SequentialRecommender, State
from deployrec.progress import Progress, silent
from deployrec.state import StateSpec


def write_graphs(
    model: SequentialRecommender, folder: Path, time: TimeFacts | None = None, progress: Progress = silent
) -> dict[str, Graph]:
    """Writes every graph the model has into `folder`, beside the item table they share; returns their signatures.

    time: what a time-aware model's bundle says of time.

    The model is expected in float32 on the CPU. One with an empty state spec gets neither step nor advance.
    """
    model.eval()
    timed = time is not None
    kinds: dict[str, type[nn.Module]] = {"encode": EncodeGraph, "score": TimedScoreGraph if timed else ScoreGraph}
    if model.state_spec.tensors:
        kinds = {"step": TimedStepGraph if timed else StepGraph, "advance": AdvanceGraph, **kinds}
    if timed:
        kinds["moment"] = MomentGraph
    table = model.embedding.weight.detach().numpy()
    table.tofile(folder / ITEM_TABLE)
    signatures = {}
    for number, (name, kind) in enumerate(kinds.items()):
        progress(number, len(kinds), f"writing the {name} graph")
        signatures[name] = signature(model.state_spec, model.config.dim, name, time)
        graph = to_onnx(kind(model), signatures[name])
        _share_table(graph, table)
        describe_state(graph, model.state_spec)
        onnx.save_model(graph, str(folder / signatures[name].file))
    return signatures


def signature(spec: StateSpec, dim: int, graph: str, time: TimeFacts | None = None) -> Graph:
    """File, inputs and outputs of one of the graphs; a named axis is dynamic, and K is what the input k says.

    Those of a time-aware model that score are told what `time` says of the moment.
    """
    user = GraphTensor("user", "float32", ("B", dim))
    elapsed = (time.elapsed,) if time else ()
    request = (GraphTensor("exclude_items", "int64", ("B", "E")), GraphTensor("k", "int64", (1,)), *elapsed)
    best = (GraphTensor("topk_items", "int64", ("B", "K")), GraphTensor("topk_scores", "float32", ("B", "K")))
    past = tuple(GraphTensor(t.past, t.dtype, ("B", *t.shape)) for t in spec.tensors)
    present = tuple(GraphTensor(t.present, t.dtype, ("B", *t.shape)) for t in spec.tensors)
    event = GraphTensor("item_id", "int64", ("B",))
    stretch = (GraphTensor("item_ids", "int64", ("B", "T")), GraphTensor("lengths", "int64", ("B",)))
    sides = {
        "step": ((event, *request, *past), (*best, user, *present)),
        "advance": ((event, *past), (user, *present)),
        "encode": ((*stretch, *past), (user, *present)),
        "score": ((user, *request), best),
        "moment": ((user, *elapsed), (GraphTensor("user_now", "float32", ("B", dim)),)),
    }
    return Graph(f"{graph}.onnx", *sides[graph])


class StepGraph(nn.Module):
    """One event a row: `item_id` [B] and past state -> the k best items, user vector and present state."""

    def __init__(self, model: SequentialRecommender) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, item_id: Tensor, exclude_items: Tensor, k: Tensor | int, past: list[Tensor]
    ) -> tuple[Tensor, ...]:
        return _step(self.model, item_id, exclude_items, k, None, past)


class TimedStepGraph(StepGraph):
    """The same of a time-aware model: the best items at a moment, see `TimeFacts.elapsed`."""

    def forward(  # type: ignore[override]
        self, item_id: Tensor, exclude_items: Tensor, k: Tensor | int, elapsed: Tensor, past: list[Tensor]
    ) -> tuple[Tensor, ...]:
        return _step(self.model, item_id, exclude_items, k, elapsed, past)


class AdvanceGraph(nn.Module):
    """One event a row: `item_id` [B] and past state -> user vector and present state, without scores."""

    def __init__(self, model: SequentialRecommender) -> None:
        super().__init__()
        self.model = model

    def forward(self, item_id: Tensor, past: list[Tensor]) -> tuple[Tensor, ...]:
        user, present = self.model.step(item_id, _named(self.model.state_spec, past))
        return user, *_ordered(self.model.state_spec, present)


class EncodeGraph(nn.Module):
    """A stretch of history a row: `item_ids` [B, T], `lengths` [B] and past state -> what `AdvanceGraph` gives."""

    def __init__(self, model: SequentialRecommender) -> None:
        super().__init__()
        self.model = model

    def forward(self, item_ids: Tensor, lengths: Tensor, past: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
        user, present = self.model.encode_last(item_ids, lengths, _named(self.model.state_spec, past))
        return user, *_ordered(self.model.state_spec, present)


class ScoreGraph(nn.Module):
    """A stored user vector [B, D] -> the k best items, without a new event."""

    def __init__(self, model: SequentialRecommender) -> None:
        super().__init__()
        self.model = model

    def forward(self, user: Tensor, exclude_items: Tensor, k: Tensor | int) -> tuple[Tensor, ...]:
        return recommend(self.model, user, exclude_items, k)


class TimedScoreGraph(ScoreGraph):
    """The same of a time-aware model: the best items at a moment, see `TimeFacts.elapsed`."""

    def forward(  # type: ignore[override]
        self, user: Tensor, exclude_items: Tensor, k: Tensor | int, elapsed: Tensor
    ) -> tuple[Tensor, ...]:
        return recommend(self.model, user, exclude_items, k, elapsed)


class MomentGraph(nn.Module):
    """A stored user vector [B, D] and a moment -> the vector whose products with the items are the scores then."""

    def __init__(self, model: SequentialRecommender) -> None:
        super().__init__()
        self.model = model

    def forward(self, user: Tensor, elapsed: Tensor) -> Tensor:
        return self.model.at_moment(user, elapsed)


def recommend(
    model: SequentialRecommender,
    user: Tensor,
    exclude_items: Tensor,
    k: Tensor | int,
    elapsed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The k best items [B, k] int64 and their scores for user vectors [B, D], without `exclude_items` [B, E].

    k: from 1 to num_items, or int64 [1]; elapsed: the moment, as `score` of the model has it.
    Excluded items are padded with 0. A slot that no item is left for holds item 0 with score -inf.
    """
    scores = model.score(user, elapsed).scatter(1, exclude_items, -torch.inf)
    values, items = torch.topk(scores, _number(k, model.num_items), dim=1)
    return torch.where(values == -torch.inf, 0, items), values


def _step(
    model: SequentialRecommender,
    item_id: Tensor,
    exclude_items: Tensor,
    k: Tensor | int,
    elapsed: Tensor | None,
    past: list[Tensor],
) -> tuple[Tensor, ...]:
    user, present = model.step(item_id, _named(model.state_spec, past))
    return *recommend(model, user, exclude_items, k, elapsed), user, *_ordered(model.state_spec, present)


def _number(k: Tensor | int, most: int) -> int:
    """k as a number, for the exporter one that a tensor holds."""
    if isinstance(k, int):
        return k
    number: Any = k.item()
    torch._check(number >= 1)
    torch._check(number <= most)
    return cast(int, number)


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
    _forget_traces(model.graph)
    _take_k(model.graph)
    fewer_nodes(model.graph)
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


def _forget_traces(graph: onnx.GraphProto) -> None:
    """Takes out the exporter's stack traces, with paths of the machine that exported, in loops' bodies too."""
    for node in graph.node:
        del node.metadata_props[:]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget_traces(attribute.g)


def _share_table(model: onnx.ModelProto, table: np.ndarray) -> None:
    """Points the item table's initializer at `items.bin`, which all graphs of the bundle read.

    A graph that makes no list may do without the table: FPMC looks events up in others.
    """
    content = table.tobytes()
    found = [i for i in model.graph.initializer if tuple(i.dims) == table.shape and i.raw_data == content]
    scores = any(node.op_type == "TopK" for node in model.graph.node)
    if not found and not scores:
        return
    if len(found) != 1:
        raise ConfigError(
            f"expected the item table once in a graph; got it {len(found)} times; "
            "look items up in self.embedding and keep SequentialRecommender.score"
        )
    read_from_table(found[0], table)


def read_from_table(initializer: onnx.TensorProto, table: np.ndarray) -> None:
    """Lets an initializer, which holds the item table, read it from `items.bin` instead."""
    initializer.ClearField("raw_data")
    initializer.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", ITEM_TABLE), ("offset", "0"), ("length", str(table.nbytes))):
        initializer.external_data.add(key=key, value=value)


def describe_state(model: onnx.ModelProto, spec: StateSpec) -> None:
    """Writes the state's input and output pairs into the graph's metadata, where a session can read them."""
    pairs = {t.past: t.present for t in spec.tensors if any(i.name == t.past for i in model.graph.input)}
    onnx.helper.set_model_props(model, {"deployrec.state": json.dumps(pairs)})


def _take_k(graph: onnx.GraphProto) -> None:
    """Lets TopK read the input k as it is: the exporter makes a number of it and a tensor again."""
    made = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        name = node.input[1] if node.op_type == "TopK" else ""
        while name in made:
            name = made[name].input[0]
        if name == "k":
            node.input[1] = name


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
