"""The graphs of a bundle: their operators, axes, shared item table and what is not in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from deployrec.bundle.bundle import Bundle
from tests.support import each_key

KEYS = {
    "caser": {"LinearRecurrence": 1},
    "fpmc": {"LinearRecurrence": 1},
    "glintru": {"GRURecurrence": 1},
    "gru4rec": {"GRURecurrence": 1},
    "lrurec": {},
    "mamba4rec": {},
    "recblr": {"LinearRecurrence": 2},
    "sasrec": {},
}


def graph(bundle: Path, name: str) -> onnx.ModelProto:
    return onnx.load(bundle / f"{name}.onnx", load_external_data=False)


@pytest.mark.parametrize("key", each_key(*KEYS))
def test_only_encode_has_recurrence_nodes(bundle_of: Callable[[str], Path], key: str) -> None:
    bundle = bundle_of(key)
    for name in ("step", "advance", "score"):
        assert {node.domain for node in graph(bundle, name).graph.node} == {""}
        assert not graph(bundle, name).functions
    found = [node.op_type for node in graph(bundle, "encode").graph.node if node.domain]
    assert {op: found.count(op) for op in found} == KEYS[key]
    assert {f.name for f in graph(bundle, "encode").functions} == set(KEYS[key])


@pytest.mark.parametrize("key", each_key(*KEYS))
def test_signatures_are_those_of_the_manifest(bundle_of: Callable[[str], Path], key: str) -> None:
    bundle = Bundle.open(bundle_of(key))
    types = {"tensor(float)": "float32", "tensor(int64)": "int64"}
    for entry in bundle.manifest.graphs.values():
        session = onnxruntime.InferenceSession(bundle.file(entry.file))
        for declared, found in ((entry.inputs, session.get_inputs()), (entry.outputs, session.get_outputs())):
            assert [(t.name, t.dtype, list(t.shape)) for t in declared] == [
                (f.name, types[f.type], f.shape) for f in found
            ]


@pytest.mark.parametrize("key", each_key(*KEYS))
def test_all_graphs_read_one_item_table(bundle_of: Callable[[str], Path], key: str) -> None:
    bundle = bundle_of(key)
    table = (bundle / "items.bin").read_bytes()
    for name in ("step", "advance", "encode", "score"):
        if key == "fpmc" and name in ("advance", "encode"):
            continue  # it looks events up in tables of its own, and makes no list
        external = [i for i in graph(bundle, name).graph.initializer if i.data_location == onnx.TensorProto.EXTERNAL]
        assert [{e.key: e.value for e in i.external_data} for i in external] == [
            {"location": "items.bin", "offset": "0", "length": str(len(table))}
        ]
        rows, dim = external[0].dims
        assert np.frombuffer(table, np.float32).reshape(rows, dim)[0].tolist() == [0] * dim


@pytest.mark.parametrize("key", each_key(*KEYS))
def test_state_pairs_can_be_read_from_a_session(bundle_of: Callable[[str], Path], key: str) -> None:
    bundle = Bundle.open(bundle_of(key))
    session = onnxruntime.InferenceSession(bundle.file("step.onnx"))
    pairs = json.loads(session.get_modelmeta().custom_metadata_map["deployrec.state"])
    assert pairs == {t.past: t.present for t in bundle.manifest.state.tensors}


@pytest.mark.parametrize("key", each_key(*KEYS))
def test_graphs_name_no_path_of_the_machine_that_exported(bundle_of: Callable[[str], Path], key: str) -> None:
    for file in bundle_of(key).glob("*.onnx"):
        assert b"/deployrec/" not in file.read_bytes()
        assert str(Path.home()).encode() not in file.read_bytes()


@pytest.mark.parametrize("key", each_key(*KEYS))
def test_exhausted_slots_hold_item_zero_and_minus_infinity(bundle_of: Callable[[str], Path], key: str) -> None:
    bundle = Bundle.open(bundle_of(key))
    session = onnxruntime.InferenceSession(bundle.file("score.onnx"))
    user = np.ones((1, bundle.manifest.dim), np.float32)
    left = [3, 7]
    exclude = np.array([[i for i in range(bundle.manifest.num_items + 1) if i not in left]])
    items, scores = session.run(None, {"user": user, "exclude_items": exclude, "k": np.array([9])})
    assert sorted(items[0, :2]) == left
    assert np.isfinite(scores[0, :2]).all()
    assert (items[0, 2:] == 0).all()
    assert (scores[0, 2:] == -np.inf).all()
