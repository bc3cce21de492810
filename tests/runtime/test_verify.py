"""The certificate reruns without torch, and a graph that answers anything else fails it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from deployrec.bundle.bundle import Bundle, seal
from deployrec.errors import BundleError
from deployrec.files import sha256_file
from deployrec.runtime.verify import VerifyReport, verify

KINDS = ["gru", "window", "encode-only"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_path_of_a_sound_bundle_passes(twin_bundle: Callable[..., Bundle], kind: str) -> None:
    report = verify(twin_bundle(kind=kind).path)
    names = {row.comparison.removeprefix("onnxruntime ") for row in report.comparisons}
    expected = {"encode", "score", "encode in a batch"}
    if kind != "encode-only":
        expected |= {"step", "step without lists", "step in a batch"}
        expected |= {f"encode {part}, then step" for part in ("one event", "half", "all but one")}
    if kind == "gru":
        expected.add("encode in chunks")
    assert names == expected
    assert report.passed
    assert all(row.figure > 0 for row in report.worst() if row.quantity in ("user", "scores"))


@pytest.mark.parametrize(
    ("graph", "initializer", "comparisons"),
    [
        ("step", "recurrent", {"step", "step in a batch"}),
        ("advance", "recurrent", {"step without lists", "step in a batch"}),
        ("encode", "input", {"encode", "encode in chunks", "encode in a batch"}),
        ("score", "mask", {"score", "step without lists", "encode", "encode in chunks", "encode in a batch"}),
    ],
)
def test_a_graph_with_a_changed_weight_fails_where_it_is_used(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, graph: str, initializer: str, comparisons: set[str]
) -> None:
    def change(weight: np.ndarray) -> None:
        if initializer == "mask":
            weight[1:] += 0.01
        else:
            weight *= 1.01

    report = verify(with_changed_weight(twin_bundle(), tmp_path, graph, initializer, change).path)
    rows = [row for row in report.comparisons if not row.passed]
    assert {name for row in rows if "then" not in (name := row.comparison.removeprefix("onnxruntime "))} == comparisons
    if graph == "score":
        assert {row.quantity for row in rows} <= {"top-k", "scores"}


def test_an_edited_file_is_refused_before_anything_runs(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    folder = shutil.copytree(twin_bundle().path, tmp_path / "bundle")
    content = bytearray((folder / "parity_cases.npz").read_bytes())
    content[-1] ^= 1
    (folder / "parity_cases.npz").write_bytes(content)
    with pytest.raises(BundleError, match=r"parity_cases\.npz"):
        verify(folder)


@pytest.mark.parametrize("places", [[], [0], [0, 1, 2], [0, 1, 2, 3, 4, 5, 6, 7, 7]], ids=str)
@pytest.mark.parametrize("promised", [True, False], ids=["as promised", "fewer promised"])
def test_a_certificate_that_proves_too_little_is_refused(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, places: list[int], promised: bool
) -> None:
    folder = shutil.copytree(twin_bundle().path, tmp_path / "bundle")
    document = json.loads((folder / "manifest.json").read_text())
    cases = Bundle.open(folder).cases().keep(places)
    cases.save(folder / "parity_cases.npz")
    if not promised and len(places) < 8:
        document["certificate"] = {"lengths": cases.lengths, "endless": {}}
    seal(folder, document)
    with pytest.raises(BundleError, match=r"expected (a certificate on|parity cases)"):
        verify(folder)


@pytest.mark.parametrize("name", ["items.csv", "items.bin", "step.onnx", "weights.safetensors"])
def test_a_certificate_of_another_file_is_refused(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(twin_bundle().path, tmp_path / "bundle")
    other = twin_bundle(seed=7).path / name
    if name == "items.csv":
        (folder / name).write_text(other.read_text().replace("i1,", "i99,"))
    else:
        shutil.copy(other, folder / name)
    seal(folder, json.loads((folder / "manifest.json").read_text()))
    Bundle.open(folder)
    with pytest.raises(BundleError, match=f"expected a certificate that was held on .*{name}"):
        verify(folder)


def test_stray_files_are_named(twin_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    folder = shutil.copytree(twin_bundle().path, tmp_path / "bundle")
    (folder / "notes.txt").write_text("mine")
    report = verify(folder)
    assert report.stray_files == ["notes.txt"]
    assert report.passed


def with_changed_weight(
    bundle: Bundle, tmp_path: Path, graph: str, name: str, change: Callable[[np.ndarray], None]
) -> Bundle:
    """A copy, certified and sealed as genuine, whose graph holds another weight than its answers were made with."""
    folder, cases = shutil.copytree(bundle.path, tmp_path / "changed"), bundle.cases()
    model = onnx.load(folder / f"{graph}.onnx", load_external_data=False)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    weight = numpy_helper.to_array(tensor).copy()
    change(weight)
    tensor.CopyFrom(numpy_helper.from_array(weight, name))
    onnx.save(model, folder / f"{graph}.onnx")
    files = {name: sha256_file(folder / name) for name in cases.files}
    replace(cases, files=files).save(folder / "parity_cases.npz")
    seal(folder, json.loads((folder / "manifest.json").read_text()))
    return Bundle.open(folder)


def test_endless_histories_are_read_in_chunks_and_step_by_step(
    twin_bundle: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployrec.bundle.parity.LONG", 8)
    report = verify(twin_bundle().path)
    assert {"encode in chunks, in a batch", "step in a batch"} <= {
        row.comparison.removeprefix("onnxruntime ") for row in report.comparisons if int(row.case.split()[2]) > 8
    }
    assert report.passed


def paths(report: VerifyReport) -> set[str]:
    return {row.comparison.removeprefix("onnxruntime ") for row in report.comparisons}
