"""A bundle as what it was exported from: its model in torch, and its graphs over another number of items."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load_file

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import RETIRED, WEIGHTS
from deployrec.errors import BundleError
from deployrec.models import SequentialRecommender, build_model, spec_of


def torch_model(
    bundle: Bundle, table: np.ndarray | None = None, mask: np.ndarray | None = None
) -> SequentialRecommender:
    """The bundle's model in torch, with the item table that its graphs read, or with another [M + 1, D] and its padding
    mask [M + 1]."""
    manifest = bundle.manifest
    weights = load_file(bundle.file(WEIGHTS))
    table = bundle.item_table() if table is None else table
    weights["embedding.weight"] = torch.from_numpy(table.copy())
    model = build_model(spec_of(manifest.model), len(table) - 1, manifest.model["config"])
    model.load_state_dict(weights)
    if mask is None and RETIRED in manifest.files:
        mask = padding_mask(manifest.num_items, bundle.retired(bundle.catalogue()).tolist())
    if mask is not None:
        model.padding_mask = torch.from_numpy(mask)
    return model.eval()


def padding_mask(num_items: int, retired: Iterable[int] = ()) -> np.ndarray:
    """float32 [N + 1], added to all scores: -inf for padding and for the rows of items that never come."""
    mask = np.zeros(num_items + 1, np.float32)
    mask[[0, *retired]] = -np.inf
    return mask


def resize_graph(graph: onnx.ModelProto, num_items: int, dim: int, mask: np.ndarray) -> None:
    """Gives a graph over `num_items` items, where it reads them, the external item table and the padding mask of `mask`
    [M + 1]."""
    tables, external = 0, False
    for tensor in graph.graph.initializer:
        external |= tensor.data_location == onnx.TensorProto.EXTERNAL
        if tensor.data_location == onnx.TensorProto.EXTERNAL and tensor.dims[0] == num_items + 1:
            for entry in tensor.external_data:
                if entry.key == "length":
                    entry.value = str(int(entry.value) // tensor.dims[0] * len(mask))
            tables += list(tensor.dims) == [num_items + 1, dim]
            tensor.dims[0] = len(mask)
        elif list(tensor.dims) == [num_items + 1] and numpy_helper.to_array(tensor)[0] == -np.inf:
            tensor.CopyFrom(numpy_helper.from_array(mask, tensor.name))
    if external and tables != 1:
        raise BundleError(f"expected one item table in the graph; got {tables}; export the bundle again")
