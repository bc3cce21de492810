"""A bundle on disk: `Bundle.open` refuses anything but what `seal` wrote, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deployrec.bundle.manifest import ITEM_TABLE, MANIFEST, SCHEMA_VERSION, Manifest, bundle_id, manifest_digest
from deployrec.errors import BundleError
from deployrec.files import atomic_write, canonical_json, first_line, sha256_file

__all__ = ["Bundle", "Manifest", "bundle_id", "seal"]


@dataclass(frozen=True, repr=False)
class Bundle:
    """A folder whose manifest and, where checked, whose every file has been found as export wrote it."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, check: bool = True) -> Bundle:
        """Reads the manifest and compares the size and digest of every file (`check=False`: the manifest only).

        Files that the manifest does not name are never read; `stray_files` lists them.
        Raises BundleError for a missing, truncated or edited file and for a bundle of a newer schema.
        """
        bundle = cls(Path(path), _read_manifest(Path(path)))
        if check:
            bundle.check_files()
        return bundle

    def __repr__(self) -> str:
        manifest, spec = self.manifest, self.manifest.state
        state = f"{spec.bytes:,} bytes of state a user" if spec.tensors else "no state"
        return (
            f"Bundle('{self.path}': {manifest.model['key']}, {manifest.num_items:,} items, {state}, "
            f"graphs {' '.join(manifest.graphs)}, id {manifest.bundle_id[:12]})"
        )

    def file(self, name: str) -> Path:
        """Path of a file that the manifest names."""
        if name not in self.manifest.files:
            raise BundleError(f"expected '{name}' in the bundle {self.path}; got no such file; export it again")
        return self.path / name

    def item_table(self) -> np.ndarray:
        """The item vectors that all graphs share, float32 [N + 1, D] with zeros in row 0."""
        return np.fromfile(self.file(ITEM_TABLE), np.float32).reshape(self.manifest.num_items + 1, self.manifest.dim)

    def check_files(self) -> None:
        """Raises BundleError at the first file that is not what the manifest says."""
        for name, expected in self.manifest.files.items():
            path = self.path / name
            if not path.is_file():
                raise BundleError(f"expected {path}; got no such file; copy or export the bundle again")
            size = path.stat().st_size
            if size != expected.bytes:
                raise BundleError(
                    f"expected {path} with {expected.bytes:,} bytes; got {size:,}; copy or export the bundle again"
                )
            if sha256_file(path) != expected.sha256:
                raise BundleError(f"expected {path} as export wrote it; got edited bytes; copy or export it again")

    def stray_files(self) -> list[str]:
        """Files in the folder that are no part of the bundle."""
        return sorted(set(_files_in(self.path)) - set(self.manifest.files))


def seal(folder: str | Path, document: Mapping[str, Any]) -> Manifest:
    """Ends the writing of a bundle: adds every file's digest, bundle_id and digest, then writes the manifest.

    `document` holds all other manifest fields (schema_version may be left out). Sealing again after adding a file
    keeps bundle_id; open the bundle with its checks before that, or an edited file would be sealed as genuine.
    """
    folder = Path(folder)
    files = {
        name: {"sha256": sha256_file(folder / name), "bytes": (folder / name).stat().st_size}
        for name in _files_in(folder)
    }
    complete = {**document, "schema_version": SCHEMA_VERSION, "files": files}
    complete = json.loads(canonical_json(complete))
    complete["bundle_id"] = bundle_id(complete)
    complete["digest"] = manifest_digest(complete)
    manifest = Manifest.from_document(complete)
    atomic_write(folder / MANIFEST, canonical_json(complete))
    return manifest


def _read_manifest(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise BundleError(f"expected a bundle folder at {folder}; got no such folder; run `deployrec export` first")
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise BundleError(f"expected {path}; got {got}; name a folder that `deployrec export` wrote") from None
    try:
        document = json.loads(content)
        if not isinstance(document, dict):
            raise ValueError("no object")
        manifest = Manifest.from_document(document)
        canonical = canonical_json(document).encode() == content
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"expected JSON in {path}; got a broken file ({first_line(error)}); export it again"
        ) from None
    if not canonical:
        raise BundleError(f"expected {path} as export wrote it; got edited bytes; copy or export the bundle again")
    return manifest


def _files_in(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(name for path in paths if (name := path.relative_to(folder).as_posix()) != MANIFEST)
