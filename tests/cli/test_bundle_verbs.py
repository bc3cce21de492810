"""`deployrec verify`, `info` and `recommend` on an exported bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployrec.bundle.bundle import Bundle, seal
from deployrec.cli.main import app
from deployrec.data import Dataset
from deployrec.errors import BundleError, UnknownItemError
from deployrec.runtime import Recommender


@pytest.fixture
def bundle(bundle_of: Callable[[str], Path]) -> Path:
    return bundle_of("glintru")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_verify_ends_with_the_parity_line(bundle: Path) -> None:
    result = run("verify", bundle)
    assert result.exit_code == 0, result.exception
    assert "files as export wrote them" in result.output
    for name in ("onnxruntime encode", "onnxruntime step", "onnxruntime score"):
        assert name in result.output
    assert result.output.splitlines()[-1].startswith("Parity holds: ")
    assert "fails" not in result.output


def test_verify_ends_with_exit_code_1_where_a_gate_fails(bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    document = json.loads((folder / "manifest.json").read_text())
    cases = Bundle.open(folder).cases()
    cases.user[-1, 0] += 0.5
    cases.save(folder / "parity_cases.npz")
    seal(folder, document)
    result = run("verify", folder)
    assert result.exit_code == 1
    assert f"{cases.label(len(cases) - 1)}: user off by 5.0e-01, limit 1.0e-05" in result.output
    assert result.output.splitlines()[-1].startswith("Parity fails: ")


def test_info_prints_what_the_manifest_says(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    result = run("info", bundle)
    assert result.exit_code == 0, result.exception
    for text in (
        manifest.bundle_id,
        "glintru",
        "comparisons, 0 failed",
        "step.onnx",
        f"{manifest.state.floats:,} floats",
    ):
        assert text in result.output
    for name in (*manifest.files, *(tensor.name for tensor in manifest.state.tensors)):
        assert name in result.output
    assert run("info", bundle, "--json").output == (bundle / "manifest.json").read_text()


def test_recommend_prints_the_recommenders_answer(bundle: Path, sample: Dataset) -> None:
    ids = sample.items["item_id"].to_list()[:3]
    recommender = Recommender.load(bundle)
    for item in ids:
        recommender.observe("someone", item)
    result = run("recommend", bundle, "--history", ", ".join(ids), "--k", 4)
    assert result.exit_code == 0, result.exception
    lines = result.output.splitlines()
    assert lines[0].startswith("after ")
    expected = recommender.recommend("someone", k=4)
    assert len(lines) == 6
    for line, entry in zip(lines[2:], expected, strict=True):
        assert entry.item_id in line
        assert entry.title in line
        assert f"{entry.score:.3f}" in line


def test_recommend_without_history_prints_the_popular(bundle: Path) -> None:
    result = run("recommend", bundle, "--k", 1)
    assert result.output.startswith("no history: the most popular items")
    assert Recommender.load(bundle).recommend("nobody", k=1)[0].title in result.output


def test_unknown_items_follow_the_policy(bundle: Path) -> None:
    assert (
        "note: 1 of 2 items are not in the catalogue; skipped"
        in run("recommend", bundle, "--history", "no such item, nor this".replace("nor this", first_id(bundle))).output
    )
    error = run("recommend", bundle, "--history", "no such item", "--on-unknown-item", "error").exception
    assert isinstance(error, UnknownItemError)


@pytest.mark.parametrize("verb", ["verify", "info", "recommend"])
def test_an_edited_bundle_is_refused(bundle: Path, tmp_path: Path, verb: str) -> None:
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    content = bytearray((folder / "items.bin").read_bytes())
    content[100] ^= 1
    (folder / "items.bin").write_bytes(content)
    assert isinstance(run(verb, folder).exception, BundleError)
    assert isinstance(run(verb, tmp_path / "none").exception, BundleError)


def first_id(bundle: Path) -> str:
    return Recommender.load(bundle).catalogue.item_ids[1]
