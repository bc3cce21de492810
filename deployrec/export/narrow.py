"""Item tables of float16 or int8: graphs that widen what they read, and what the rounding costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from deployrec.bundle.graph import Graph
from deployrec.bundle.manifest import ITEM_TABLE, SCALES, TableFacts
from deployrec.bundle.table import Table
from deployrec.errors import ConfigError
from deployrec.models import SequentialRecommender

K = 10

TYPES = {"float16": TensorProto.FLOAT16, "int8": TensorProto.INT8}


def round_table(model: SequentialRecommender, dtype: str, histories: Sequence[np.ndarray]) -> tuple[Table, TableFacts]:
    """Rounds the model's item vectors, in place, to what a table of `dtype` holds; the table, and the lists that stay.

    histories: of real users, whose ten best items are compared, before and after.
    """
    before = _best(model, histories)
    table = Table.rounded(model.embedding.weight.detach().numpy(), dtype)
    with torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(table.floats().copy()))
    same = [len(np.intersect1d(*lists)) for lists in zip(before, _best(model, histories), strict=True)]
    return table, TableFacts(dtype, float(np.mean(same)) / before.shape[1], len(histories))


def narrow_files(folder: Path, graphs: Iterable[Graph], table: Table) -> None:
    """Puts the table in the place of the float32 one of a folder that `write_graphs` wrote."""
    write_table(table, folder)
    for graph in graphs:
        model = onnx.load(str(folder / graph.file), load_external_data=False)
        narrow_graph(model, table)
        onnx.save_model(model, str(folder / graph.file))


def write_table(table: Table, folder: Path) -> None:
    """Writes items.bin and, for int8, the scales."""
    table.values.tofile(folder / ITEM_TABLE)
    if table.scales is not None:
        table.scales.tofile(folder / SCALES)


def narrow_graph(model: onnx.ModelProto, table: Table) -> None:
    """Lets a graph over a float32 table in items.bin read `table` there instead; answers are those of its floats.

    Raises ConfigError for a graph that does anything with the table but look rows up and score them.
    """
    graph = model.graph
    tables = [tensor for tensor in graph.initializer if tensor.data_location == TensorProto.EXTERNAL]
    if not tables:
        return
    (old,) = tables
    name, nodes = old.name, []
    graph.initializer.remove(old)
    graph.initializer.append(_external(name, TYPES[table.dtype], ITEM_TABLE, table.values))
    scales = f"{name}.scales"
    if table.scales is not None:
        graph.initializer.append(_external(scales, TensorProto.FLOAT, SCALES, table.scales))
    for node in graph.node:
        if name not in node.input:
            nodes.append(node)
        elif node.op_type == "Gather" and node.input[0] == name:
            (out,) = node.output
            node.output[0] = f"{out}.stored"
            nodes += [node, *_widened(f"{out}.stored", out, None if table.scales is None else f"{out}.scale")]
            if table.scales is not None:
                nodes.insert(-1, helper.make_node("Gather", [scales, node.input[1]], [f"{out}.scale"], axis=0))
        elif node.op_type in ("Gemm", "MatMul", "Transpose"):
            wide = f"{name}.wide"
            nodes += _widened(name, wide, None if table.scales is None else scales)
            node.input[list(node.input).index(name)] = wide
            nodes.append(node)
        else:
            raise ConfigError(
                f"expected a graph that looks items up and scores them; got {node.op_type} of the item table; "
                "export it with a float32 table"
            )
    del graph.node[:]
    graph.node.extend(nodes)


def _best(model: SequentialRecommender, histories: Sequence[np.ndarray]) -> np.ndarray:
    """Rows [U, 10] of the best items after each history."""
    found = []
    with torch.no_grad():
        for history in histories:
            rows = torch.from_numpy(history.copy())[None]
            user, _ = model.encode_last(rows, torch.tensor([len(history)]))
            found.append(model.score(user)[0].topk(min(K, model.num_items)).indices.numpy())
    return np.stack(found)


def _widened(stored: str, out: str, scale: str | None) -> list[onnx.NodeProto]:
    """Nodes from stored numbers to float32."""
    cast = helper.make_node("Cast", [stored], [out if scale is None else f"{out}.cast"], to=TensorProto.FLOAT)
    return [cast] if scale is None else [cast, helper.make_node("Mul", [f"{out}.cast", scale], [out])]


def _external(name: str, dtype: int, file: str, numbers: np.ndarray) -> TensorProto:
    tensor = TensorProto(name=name, data_type=dtype, dims=numbers.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", file), ("offset", "0"), ("length", str(numbers.nbytes))):
        tensor.external_data.add(key=key, value=value)
    return tensor
