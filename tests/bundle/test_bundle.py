"""A bundle is read only as it was written: every byte, every file, no newer schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deployrec.bundle.bundle import Bundle, canonical_json, seal
from deployrec.bundle.manifest import manifest_digest
from deployrec.errors import BundleError

DOCUMENT = {
    "created": "2026-01-01T00:00:00Z",
    "model": {"key": "glintru", "config": {"dim": 4}, "num_items": 3, "dim": 4},
    "state": {"exact_up_to": None, "tensors": [{"name": "0.h", "shape": [4], "dtype": "float32"}]},
    "graphs": {
        name: {
            "file": f"{name}.onnx",
            "inputs": [{"name": "user", "dtype": "float32", "shape": ["B", 4]}],
            "outputs": [],
        }
        for name in ("step", "encode", "score")
    },
    "opset": 20,
    "top_k": 3,
    "encode_chunk": 256,
    "data": {"name": "sample", "digest": "0", "num_users": 1, "num_items": 3, "num_events": 3},
    "training": {"preset": "quick", "seed": 1, "metrics": {"hr@10": 0.25}},
    "versions": {"torch": "2.13"},
}
FILES = ["encode.onnx", "engine/a.plan", "items.csv", "score.onnx", "step.onnx", "weights.safetensors"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(f"content of {name}".encode())
    seal(tmp_path, DOCUMENT)
    return tmp_path


def rewrite(folder: Path, **changes: object) -> None:
    """Edits the manifest as someone would who also mends its digest."""
    document = json.loads((folder / "manifest.json").read_text()) | changes
    document["digest"] = manifest_digest(document)
    (folder / "manifest.json").write_text(canonical_json(document))


def test_open_returns_what_seal_wrote(folder: Path) -> None:
    manifest = Bundle.open(folder).manifest
    assert list(manifest.files) == FILES
    assert manifest.graphs["score"].inputs[0].shape == ("B", 4)
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
    rewrite(folder, schema_version=2)
    with pytest.raises(BundleError, match="got schema 2; upgrade deployrec"):
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


def test_an_engine_added_later_keeps_the_bundle_id_and_new_weights_change_it(folder: Path) -> None:
    before = Bundle.open(folder).manifest.bundle_id
    (folder / "engine" / "b.plan").write_bytes(b"engine")
    assert Bundle.open(folder).stray_files() == ["engine/b.plan"]
    assert seal(folder, DOCUMENT).bundle_id == before
    (folder / "weights.safetensors").write_bytes(b"other")
    assert seal(folder, DOCUMENT).bundle_id != before


def test_a_bundle_id_that_does_not_match_is_refused(folder: Path) -> None:
    rewrite(folder, bundle_id="0" * 64)
    with pytest.raises(BundleError, match="bundle_id"):
        Bundle.open(folder)


def test_no_folder_and_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        Bundle.open(tmp_path / "none")
    with pytest.raises(BundleError, match=r"manifest.json; got no such file"):
        Bundle.open(tmp_path)


def flip(path: Path, position: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(position * (len(content) - 1))] ^= 1
    path.write_bytes(content)
