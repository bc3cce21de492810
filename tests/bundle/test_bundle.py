"""A bundle is read only as it was written: every byte, every file, no newer schema."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deployrec.bundle.bundle import Bundle, canonical_json, seal
from deployrec.bundle.graph_file import GraphFile
from deployrec.bundle.manifest import bundle_id, manifest_digest, state_id
from deployrec.errors import BundleError

NUM_ITEMS, DIM = 3, 4
PAST, PRESENT = ("past.0.h", "float32", ("B", DIM)), ("present.0.h", "float32", ("B", DIM))
USER = ("user", "float32", ("B", DIM))
SIGNATURES: dict[str, tuple[list[Any], list[Any]]] = {
    "step": ([("item_id", "int64", ("B",)), PAST], [USER, PRESENT]),
    "advance": ([("item_id", "int64", ("B",)), PAST], [USER, PRESENT]),
    "encode": ([("item_ids", "int64", ("B", "T")), PAST], [USER, PRESENT]),
    "score": ([USER], [("topk_scores", "float32", ("B", "N"))]),
}
DOCUMENT: dict[str, Any] = {
    "created": "2026-01-01T00:00:00Z",
    "model": {"key": "glintru", "config": {"dim": DIM}, "num_items": NUM_ITEMS, "dim": DIM},
    "state": {"exact_up_to": None, "tensors": [{"name": "0.h", "shape": [DIM], "dtype": "float32"}]},
    "graphs": {
        name: {
            "file": f"{name}.onnx",
            "inputs": [{"name": n, "dtype": d, "shape": list(shape)} for n, d, shape in inputs],
            "outputs": [{"name": n, "dtype": d, "shape": list(shape)} for n, d, shape in outputs],
        }
        for name, (inputs, outputs) in SIGNATURES.items()
    },
    "opset": 20,
    "encode_chunk": 256,
    "certificate": {"lengths": [0, 1], "endless": {"one item repeated": 10_000}},
    "data": {"name": "sample", "digest": "0", "num_users": 1, "num_items": NUM_ITEMS, "num_events": 3},
    "training": {"preset": "quick", "seed": 1, "metrics": {"hr@10": 0.25}},
    "versions": {"torch": "2.13"},
}
GRAPHS = [f"{name}.onnx" for name in SIGNATURES]
FILES = sorted([*GRAPHS, "engine/a.plan", "items.bin", "items.csv", "weights.safetensors"])


def graph(name: str, nodes: Sequence[onnx.NodeProto] = (), **changes: Any) -> onnx.ModelProto:
    """A graph of the right inputs and outputs, which holds the item table and computes little of use."""
    types = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    inputs, outputs = (
        [helper.make_tensor_value_info(n, types[dtype], shape) for n, dtype, shape in side] for side in SIGNATURES[name]
    )
    table = TensorProto(
        name="table", data_type=TensorProto.FLOAT, dims=[NUM_ITEMS + 1, DIM], data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": "items.bin", "offset": "0", "length": "64", **changes}.items():
        table.external_data.add(key=key, value=str(value))
    made = helper.make_graph(list(nodes), name, inputs, outputs, [table])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(f"content of {name}".encode())
    (folder / "items.csv").write_text("item_id,title,popularity\na,A,3\nb,B,2\nc,C,1\n")
    np.arange((NUM_ITEMS + 1) * DIM, dtype=np.float32).tofile(folder / "items.bin")
    for name in SIGNATURES:
        (folder / f"{name}.onnx").write_bytes(graph(name).SerializeToString())
    seal(folder, DOCUMENT)
    return folder


def rewrite(folder: Path, **changes: object) -> None:
    """Edits the manifest as someone would who also mends its digest."""
    document = json.loads((folder / "manifest.json").read_text()) | changes
    document["digest"] = manifest_digest(document)
    (folder / "manifest.json").write_text(canonical_json(document))


def test_open_returns_what_seal_wrote(folder: Path) -> None:
    manifest = Bundle.open(folder).manifest
    assert list(manifest.files) == FILES
    assert manifest.graphs["score"].inputs[0].shape == ("B", DIM)
    assert (manifest.num_items, manifest.dim, manifest.state.floats) == (3, 4, 4)
    assert manifest == seal(folder, DOCUMENT)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("position", [0, 0.5, 1])
def test_one_flipped_byte_in_a_file_is_refused(folder: Path, name: str, position: float) -> None:
    flip(folder / name, position)
    with pytest.raises(BundleError, match=name):
        Bundle.open(folder)


def test_every_flipped_byte_of_the_manifest_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    content = path.read_bytes()
    for index in range(len(content)):
        flipped = content[index] ^ (0x01, 0x20, 0x80)[index % 3]
        path.write_bytes(content[:index] + bytes([flipped]) + content[index + 1 :])
        with pytest.raises(BundleError) as error:
            Bundle.open(folder)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("added", [b" ", b"\n"])
def test_whitespace_added_to_the_manifest_is_refused(folder: Path, added: bytes) -> None:
    path = folder / "manifest.json"
    content = path.read_bytes()
    for index in [*range(0, len(content), 9), len(content)]:
        path.write_bytes(content[:index] + added + content[index:])
        with pytest.raises(BundleError):
            Bundle.open(folder)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_missing_and_truncated_files_are_refused(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    half = len(content) // 2
    (folder / name).write_bytes(content[:half])
    with pytest.raises(BundleError, match=f"{name};" if name == "manifest.json" else f"{name} with .* got {half};"):
        Bundle.open(folder)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name}; got no such file"):
        Bundle.open(folder)


def test_a_newer_schema_asks_for_a_newer_deployrec(folder: Path) -> None:
    rewrite(folder, schema_version=99)
    with pytest.raises(BundleError, match="got schema 99; upgrade deployrec"):
        Bundle.open(folder)


def test_an_older_schema_is_exported_again(folder: Path) -> None:
    rewrite(folder, schema_version=1)
    with pytest.raises(BundleError, match="expected a bundle of schema 2; got schema 1; export it again"):
        Bundle.open(folder)


@pytest.mark.parametrize("graph", ["step", "advance"])
def test_step_and_advance_come_together(folder: Path, graph: str) -> None:
    rewrite(folder, graphs={name: entry for name, entry in DOCUMENT["graphs"].items() if name != graph})
    with pytest.raises(BundleError, match=f"expected a graph '{graph}' in manifest.json; got none"):
        Bundle.open(folder)


@pytest.mark.parametrize("field", [*DOCUMENT, "files", "bundle_id"])
def test_a_missing_or_mistyped_field_is_named(folder: Path, field: str) -> None:
    rewrite(folder, **{field: None})
    with pytest.raises(BundleError, match=field):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../b", "", "manifest.json", "a\\b"])
def test_files_outside_the_folder_are_refused(folder: Path, name: str) -> None:
    files = json.loads((folder / "manifest.json").read_text())["files"]
    rewrite(folder, files={**files, name: {"sha256": "0", "bytes": 1}})
    with pytest.raises(BundleError, match="inside the bundle"):
        Bundle.open(folder)


def test_an_engine_added_later_keeps_both_ids(folder: Path) -> None:
    before = Bundle.open(folder).manifest
    (folder / "engine" / "b.plan").write_bytes(b"engine")
    assert Bundle.open(folder).stray_files() == ["engine/b.plan"]
    after = seal(folder, DOCUMENT)
    assert (after.bundle_id, after.state_id) == (before.bundle_id, before.state_id)


def other_table(folder: Path) -> None:
    np.ones((NUM_ITEMS + 1) * DIM, np.float32).tofile(folder / "items.bin")


def other_graph(folder: Path) -> None:
    (folder / "step.onnx").write_bytes(
        graph("step", [helper.make_node("Neg", ["past.0.h"], ["x"])]).SerializeToString()
    )


def other_titles(folder: Path) -> None:
    (folder / "items.csv").write_text("item_id,title,popularity\na,Alpha,30\nb,B,2\nc,C,1\n")


def other_order(folder: Path) -> None:
    (folder / "items.csv").write_text("item_id,title,popularity\nb,B,2\na,A,3\nc,C,1\n")


def other_weights(folder: Path) -> None:
    (folder / "weights.safetensors").write_bytes(b"other")


@pytest.mark.parametrize(
    ("change", "states_move"),
    [(other_table, False), (other_graph, True), (other_titles, True), (other_order, False), (other_weights, False)],
)
def test_whatever_decides_an_answer_changes_bundle_id_and_what_states_hang_on_state_id(
    folder: Path, change: Callable[[Path], None], states_move: bool
) -> None:
    before = Bundle.open(folder).manifest
    change(folder)
    after = seal(folder, DOCUMENT)
    assert after.bundle_id != before.bundle_id
    assert (after.state_id == before.state_id) is states_move


@pytest.mark.parametrize(
    ("field", "value", "states_move"),
    [
        ("encode_chunk", 128, True),
        ("opset", 21, True),
        ("model", {**DOCUMENT["model"], "config": {"dim": DIM, "window": 3}}, False),
        ("state", {**DOCUMENT["state"], "exact_up_to": 50}, False),
    ],
)
def test_fields_that_decide_an_answer_change_bundle_id(
    folder: Path, field: str, value: object, states_move: bool
) -> None:
    before = Bundle.open(folder).manifest
    after = seal(folder, {**DOCUMENT, field: value})
    assert after.bundle_id != before.bundle_id
    assert (after.state_id == before.state_id) is states_move


@pytest.mark.parametrize("field", ["created", "training", "versions"])
def test_fields_that_decide_no_answer_keep_both_ids(folder: Path, field: str) -> None:
    before = Bundle.open(folder).manifest
    after = seal(folder, {**DOCUMENT, field: "2027" if field == "created" else {"new": 1}})
    assert (after.bundle_id, after.state_id) == (before.bundle_id, before.state_id)


def test_a_bundle_id_that_does_not_match_is_refused(folder: Path) -> None:
    rewrite(folder, bundle_id="0" * 64)
    with pytest.raises(BundleError, match="bundle_id"):
        Bundle.open(folder)


def test_a_state_id_that_does_not_match_is_refused(folder: Path) -> None:
    rewrite(folder, state_id="0" * 64)
    with pytest.raises(BundleError, match="state_id"):
        Bundle.open(folder)


def test_items_in_another_order_than_the_manifest_names_are_refused(folder: Path) -> None:
    names = Bundle.open(folder).manifest.item_rows
    other_order(folder)
    seal(folder, DOCUMENT)
    document = json.loads((folder / "manifest.json").read_text()) | {"item_rows": names}
    document |= {"bundle_id": bundle_id(document), "state_id": state_id(document)}
    rewrite(folder, **document)
    with pytest.raises(BundleError, match="as the graphs number them"):
        Bundle.open(folder).catalogue()


HUGE = 10**30
ODD_FIELDS: list[tuple[Any, Any]] = [
    *((f"model.{name}", value) for name in ("dim", "num_items") for value in (0, -1, HUGE, 1.5, True, "4")),
    *((name, value) for name in ("encode_chunk", "opset") for value in (0, -1, HUGE, 2.0)),
    *(("state.exact_up_to", value) for value in (0, -1, HUGE, "all")),
    *(("state.tensors.0.shape", value) for value in ([-4], [0], [HUGE], [2**40, 2**40], ["B"], [None], [4.0], 4)),
    ("state.tensors.0", None),
    ("state.tensors.0", {"name": 1, "shape": [4], "dtype": "float32"}),
    ("state.tensors.0.dtype", "float16"),
    ("state.tensors.0.name", None),
    ("state.tensors", {}),
    *(("graphs.step.inputs.0.shape", value) for value in ([-1], [HUGE], [True], [None], "B")),
    ("graphs.step.inputs.1.shape", ["B", 5]),
    ("graphs.step.outputs", []),
    ("graphs.step", []),
    ("graphs.step.file", 3),
    ("graphs.step.file", "../step.onnx"),
    ("graphs.loop", {"file": "step.onnx", "inputs": [], "outputs": []}),
    ("certificate", None),
    ("certificate", [1]),
    ("certificate", {}),
    *(("certificate.endless", kinds) for kinds in (3, {"one": "2"}, {"one": -1}, {"one": HUGE})),
    *(("certificate.lengths", lengths) for lengths in (3, ["1"], [-1], [HUGE], [1.0], [True])),
    ("data.num_events", HUGE),
    ("data.digest", None),
    ("training.metrics", {"test": {"rows": {"glintru": 3}}}),
    ("training.metrics", [1]),
    ("files.items.csv", None),
    ("files.items.csv", {"sha256": "0"}),
    ("files.items.csv", {"sha256": 0, "bytes": 1}),
    *((("files", "items.csv", "bytes"), size) for size in (-1, HUGE, 1.0)),
    (("files", "a\0b"), {"sha256": "0", "bytes": 1}),
    ("schema_version", HUGE),
]


@pytest.mark.parametrize(("place", "value"), ODD_FIELDS, ids=repr)
def test_odd_fields_are_one_line_even_where_every_digest_fits(
    folder: Path, place: str | tuple[str, ...], value: object
) -> None:
    document = json.loads((folder / "manifest.json").read_text())
    *way, last = place if isinstance(place, tuple) else ("files", "items.csv") if "csv" in place else place.split(".")
    target = document
    for name in way:
        target = target[int(name)] if isinstance(target, list) else target[name]
    target[int(last) if isinstance(target, list) else last] = value
    for name, digest in (("bundle_id", bundle_id), ("state_id", state_id)):
        with suppress(Exception):
            document[name] = digest(document)
    rewrite(folder, **document)
    with pytest.raises(BundleError) as error:
        Bundle.open(folder)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": NaN}',
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"schema_version": ' + b"9" * 5000 + b"}",
        b" " * (2**24 + 1),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_odd_json_is_one_line(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError) as error:
        Bundle.open(folder)
    assert "\n" not in str(error.value)


def test_a_field_given_twice_is_refused(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('  "opset": 20,\n', '  "opset": 20,\n  "opset": 20,\n'))
    with pytest.raises(BundleError, match="edited bytes"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["manifest.json", "items.csv", "step.onnx"])
@pytest.mark.parametrize("kind", ["fifo", "/dev/zero", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(folder: Path, name: str, kind: str) -> None:
    (folder / name).unlink()
    if kind == "fifo":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to(kind)
    with pytest.raises(BundleError, match=f"{name}; got (no regular file|Is a directory)"):
        Bundle.open(folder)


def external(name: str, location: str = "items.bin") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def body(*nodes: onnx.NodeProto, initializer: Sequence[TensorProto] = ()) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "body", [], [], list(initializer))


def function(name: str, *nodes: onnx.NodeProto, domain: str = "deployrec") -> onnx.FunctionProto:
    return helper.make_function(domain, name, ["x"], ["y"], list(nodes), [helper.make_opsetid("", 20)])


SCAN = helper.make_node("Scan", ["x"], ["y"], body=body(helper.make_node("Neg", ["x"], ["y"])), num_scan_inputs=1)
LOOP = helper.make_node("Loop", ["", ""], ["y"], body=body())
CALL = helper.make_node("Twice", ["x"], ["y"], domain="deployrec")


def deep(depth: int) -> onnx.NodeProto:
    node = helper.make_node("Neg", ["x"], ["y"])
    for _ in range(depth):
        node = helper.make_node("If", ["c"], ["y"], then_branch=body(node), else_branch=body())
    return node


HOSTILE: dict[str, tuple[onnx.ModelProto, str]] = {
    "another location": (graph("step", location="/etc/hostname"), "no numbers outside"),
    "a way out": (graph("step", location="../other/items.bin"), "no numbers outside"),
    "weights as the table": (graph("step", location="weights.safetensors"), "no numbers outside"),
    "an offset": (graph("step", offset=4), "no numbers outside"),
    "a negative offset": (graph("step", offset=-64), "no numbers outside"),
    "a longer table": (graph("step", length=10**15), "no numbers outside"),
    "an offset that is none": (graph("step", offset="x"), "invalid literal"),
    "in a constant": (
        graph("step", [helper.make_node("Constant", [], ["x"], value=external("c"))]),
        "numbers in another file",
    ),
    "in a body": (
        graph("step", [helper.make_node("If", ["c"], ["y"], then_branch=body(initializer=[external("c")]))]),
        "numbers in another file",
    ),
    "a loop": (graph("step", [LOOP]), "a Loop"),
    "a loop in a branch": (graph("step", [helper.make_node("If", ["c"], ["y"], then_branch=body(LOOP))]), "a Loop"),
    "a scan in a scan": (
        graph("step", [helper.make_node("Scan", ["x"], ["y"], body=body(SCAN))]),
        "Scan inside a Scan",
    ),
    "deep branches": (graph("step", [deep(12)]), "8 deep"),
    "a foreign operator": (graph("step", [helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")]), "Gelu"),
    "an undefined function": (graph("step", [CALL]), "Twice"),
}
for _label, (_functions, _message) in {
    "a loop in a function": ([function("Twice", LOOP)], "a Loop"),
    "a function that calls itself": ([function("Twice", CALL)], "Twice"),
    "a function in ONNX's name": ([function("MatMul", domain="")], "MatMul"),
}.items():
    _model = graph("step", [CALL])
    _model.functions.extend(_functions)
    HOSTILE[_label] = (_model, _message)
_model = graph("step", [helper.make_node("Scan", ["x"], ["y"], body=body(CALL))])
_model.functions.append(function("Twice", SCAN))
HOSTILE["a function with a scan inside a scan"] = (_model, "inside a Scan")


@pytest.mark.parametrize("label", HOSTILE)
def test_graphs_that_export_never_writes_are_refused_before_anything_runs(folder: Path, label: str) -> None:
    model, message = HOSTILE[label]
    (folder / "step.onnx").write_bytes(model.SerializeToString())
    seal(folder, DOCUMENT)
    with pytest.raises(BundleError, match=message) as error:
        Bundle.open(folder)
    assert "\n" not in str(error.value)
    assert "step.onnx" in str(error.value)


def test_what_recurrences_are_made_of_is_read(folder: Path) -> None:
    model = graph("step", [CALL, deep(2), helper.make_node("If", ["c"], ["y"], then_branch=body(SCAN))])
    model.functions.append(function("Twice", SCAN))
    (folder / "step.onnx").write_bytes(model.SerializeToString())
    seal(folder, DOCUMENT)
    assert Bundle.open(folder).graph("step")[1] == {"table": "items.bin"}


def test_other_inputs_than_the_manifest_names_are_refused(folder: Path) -> None:
    model = graph("step")
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 10**12
    (folder / "step.onnx").write_bytes(model.SerializeToString())
    seal(folder, DOCUMENT)
    with pytest.raises(BundleError, match=r"expected the inputs .*past.0.h float32 \[B, 4\].*; got .*1000000000000"):
        Bundle.open(folder)


def test_a_graph_cut_anywhere_or_with_any_byte_changed_is_read_or_refused_in_one_line(folder: Path) -> None:
    content = graph("step", [CALL, SCAN]).SerializeToString()
    variants = [content[:end] for end in range(len(content))]
    variants += [
        content[:n] + bytes([content[n] ^ bit]) + content[n + 1 :] for n in range(len(content)) for bit in (1, 128)
    ]
    for variant in variants:
        with suppress(ValueError):
            GraphFile.read(variant)


def test_what_was_checked_is_what_is_read(folder: Path) -> None:
    bundle = Bundle.open(folder)
    other_table(folder)
    with pytest.raises(BundleError, match=r"items\.bin as export wrote it; got edited bytes"):
        bundle.item_table()
    (folder / "items.bin").write_bytes(b"")
    with pytest.raises(BundleError, match=r"items\.bin with 64 bytes; got 0"):
        bundle.item_table()


def test_no_folder_and_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        Bundle.open(tmp_path / "none")
    with pytest.raises(BundleError, match=r"manifest.json; got no such file"):
        Bundle.open(tmp_path)


def flip(path: Path, position: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(position * (len(content) - 1))] ^= 1
    path.write_bytes(content)
