"""A bundle on disk: `Bundle.open` refuses anything but what `seal` wrote, byte for byte."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deployrec.bundle.catalogue import Catalogue
from deployrec.bundle.graph import GraphTensor
from deployrec.bundle.graph_file import External, GraphFile, Value
from deployrec.bundle.manifest import (
    ITEM_TABLE,
    ITEMS,
    MANIFEST,
    PARITY_CASES,
    RETIRED,
    SCALES,
    SCHEMA_VERSION,
    SIGNATURE,
    Manifest,
    bundle_id,
    manifest_digest,
    state_id,
)
from deployrec.bundle.parity import CERTIFIED_K, ParityCases
from deployrec.bundle.signature import check_signature
from deployrec.bundle.table import Table
from deployrec.errors import BundleError, ConfigError
from deployrec.files import atomic_write, canonical_json, first_line, open_regular, sha256_file

__all__ = ["Bundle", "Manifest", "bundle_id", "seal"]


BLOCK = 2**20
"""Bytes read and hashed at a time: they stay in the processor's cache."""
MOST_MANIFEST = 2**24


@dataclass(frozen=True, repr=False)
class Bundle:
    """A folder whose manifest and, where checked, whose every file has been found as export wrote it.

    What is served is what was checked: `read`, `item_table` and `catalogue` hand out the very bytes they compared with
    the manifest, so that a file changed under a running process is refused or changes nothing.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, check: bool = True, trusted: Sequence[str | Path] | None = None) -> Bundle:
        """Reads the manifest and compares the size and digest of every file, and what the graphs say of themselves
        (`check=False`: the manifest only; each file is compared when it is read).

        Files that the manifest does not name are never read; `stray_files` lists them. trusted: public keys (PEM
        files), one of which must have signed the bundle; without it, the digests prove only that the files are those
        that the manifest names, whoever wrote it. Raises BundleError for a missing, truncated or edited file, for a
        bundle of a newer schema, and for one that no trusted key has signed.
        """
        if not isinstance(path, str | Path):
            raise ConfigError(f"expected a bundle's folder; got {type(path).__name__}; pass its path")
        bundle = cls(Path(path), _read_manifest(Path(path)))
        if trusted is not None:
            check_signature(bundle.path, bundle.manifest, trusted)
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
        """Path of a file that the manifest names, for tools that open files themselves."""
        if name not in self.manifest.files:
            raise BundleError(f"expected '{name}' in the bundle {self.path}; got no such file; export it again")
        return self.path / name

    def read(self, name: str) -> bytes:
        """A file's content, compared with the manifest; raises BundleError for any other."""
        return self._content(name).tobytes()

    def item_table(self) -> np.ndarray:
        """The item vectors, float32 [N + 1, D] with zeros in row 0; not to be written to."""
        table = self.stored_table().floats()
        table.flags.writeable = False
        return table

    def stored_table(self) -> Table:
        """The item vectors as they lie in items.bin, which all graphs share; not to be written to."""
        dtype, shape = np.dtype(self.manifest.table.dtype), (self.manifest.num_items + 1, self.manifest.dim)
        content = self._numbers(ITEM_TABLE, dtype, shape)
        if base := self.manifest.base:
            first = content[: base.num_items + 1].tobytes()
            if hashlib.sha256(first).hexdigest() != base.files[ITEM_TABLE]:
                raise BundleError(
                    f"expected {self.file(ITEM_TABLE)} to begin with the {base.num_items:,} items that others were "
                    "added to; got other vectors; add them again"
                )
        scales = self._numbers(SCALES, np.dtype(np.float32), (shape[0], 1)) if dtype == np.int8 else None
        return Table(content, scales)

    def _numbers(self, name: str, dtype: np.dtype, shape: tuple[int, int]) -> np.ndarray:
        content = self._content(name)
        if content.nbytes != dtype.itemsize * shape[0] * shape[1]:
            raise BundleError(
                f"expected {self.file(name)} with {shape[0]:,} x {shape[1]:,} numbers; got {content.nbytes:,} "
                "bytes; export the bundle again"
            )
        numbers = content.view(dtype).reshape(shape)
        numbers.flags.writeable = False
        return numbers

    def catalogue(self) -> Catalogue:
        """The items by row, read from items.csv."""
        catalogue = Catalogue.parse(self.read(ITEMS), self.file(ITEMS), self.manifest.num_items)
        if catalogue.item_rows() != self.manifest.item_rows:
            raise BundleError(
                f"expected the items of {self.file(ITEMS)} as the graphs number them; got others; export it again"
            )
        base = self.manifest.base
        if base and catalogue.item_rows(base.num_items) != base.item_rows:
            raise BundleError(
                f"expected {self.file(ITEMS)} to begin with the {base.num_items:,} items that others were added to; "
                "got others; add them again"
            )
        return catalogue

    def retired(self, catalogue: Catalogue) -> np.ndarray:
        """Rows int32 [m] of the items that are never recommended; the graphs never answer with them."""
        if RETIRED not in self.manifest.files:
            return np.zeros(0, np.int32)
        lines = self.read(RETIRED).decode("utf-8", "replace")
        header, *ids = (line[0] if line else "" for line in csv.reader(io.StringIO(lines, newline="")))
        unknown = next((item_id for item_id in ids if item_id not in catalogue.rows), None)
        if header != "item_id" or unknown is not None:
            raise BundleError(
                f"expected item_id and items of {ITEMS} in {self.file(RETIRED)}; got '{unknown or header}'; retire "
                "them again"
            )
        return np.array(sorted(catalogue.rows[item_id] for item_id in ids), np.int32)

    def cases(self) -> ParityCases:
        """The certificate's histories and the answers to them.

        Raises BundleError for others than the manifest promises, or where these are too few to prove anything.
        """
        table = self.item_table()
        cases = ParityCases.parse(self.read(PARITY_CASES), self.file(PARITY_CASES), table)
        chunk, promised = self.manifest.encode_chunk, self.manifest.certificate
        missing = {0, 1, 2, chunk - 1, chunk, chunk + 1}.difference(promised)
        if tuple(cases.lengths) != promised or missing:
            raise BundleError(
                f"expected a certificate on {len(promised)} histories, as {MANIFEST} promises, the lengths around a "
                f"chunk of {chunk} among them; got one on {len(cases)}; export the bundle again"
            )
        for name in self.manifest.deciding:
            if cases.files.get(name) != self.manifest.files[name].sha256:
                raise BundleError(
                    f"expected a certificate that was held on {self.file(name)}; got one on another file; export again"
                )
        shapes = {tensor.name: tensor.shape for tensor in self.manifest.state.tensors}
        states = {name: tensor.shape[1:] for name, tensor in cases.state.items()}
        listed = cases.topk_items.shape[1] == min(CERTIFIED_K, self.manifest.num_items)
        time = self.manifest.time
        asked = None if cases.elapsed is None else cases.elapsed.shape[1:]
        if states != shapes or not listed or asked != (time.elapsed.shape[1:] if time else None):
            raise BundleError(
                f"expected a certificate of states, lists and times as {MANIFEST} describes them; got others; export "
                "the bundle again"
            )
        return cases

    def graph(self, name: str) -> tuple[bytes, dict[str, str]]:
        """The ONNX file of a graph, and by the names of the initializers that are the item table the files they lie in.

        Raises BundleError where it has other inputs or outputs than the manifest says, needs another file than
        items.bin, or has operators that export never writes (see `GraphFile.read`).
        """
        signature = self.manifest.graphs[name]
        path, content = self.file(signature.file), self.read(signature.file)
        try:
            found = GraphFile.read(content)
        except ValueError as error:
            raise BundleError(
                f"expected the {name} graph in {path}; got {first_line(error)}; export it again"
            ) from None
        for side, described in (("inputs", signature.inputs), ("outputs", signature.outputs)):
            expected, got = ({_axes(tensor) for tensor in tensors} for tensors in (described, getattr(found, side)))
            if expected != got:
                raise BundleError(
                    f"expected the {side} {_and(expected - got)} in {path}; got {_and(got - expected)}; export it again"
                )
        shape, dtype = (self.manifest.num_items + 1, self.manifest.dim), self.manifest.table.dtype
        size = np.dtype(dtype).itemsize * shape[0] * shape[1]
        known = {External("", ITEM_TABLE, 0, size, dtype, shape)}
        if dtype == "int8":
            known.add(External("", SCALES, 0, 4 * shape[0], "float32", (shape[0], 1)))
        for tensor in found.external:
            if tensor._replace(name="") not in known:
                raise BundleError(
                    f"expected no numbers outside {path} but those of {ITEM_TABLE}, {dtype} {list(shape)}; got "
                    f"{tensor.dtype} {list(tensor.shape)} of '{tensor.name}' in '{tensor.location}'; export it again"
                )
        return content, {tensor.name: tensor.location for tensor in found.external}

    def check_files(self) -> None:
        """Raises BundleError at the first file that is not what the manifest says."""
        for name in self.manifest.files:
            self._content(name, keep=False)
        for name in self.manifest.graphs:
            self.graph(name)

    def stray_files(self) -> list[str]:
        """Files in the folder that are no part of the bundle."""
        return sorted(set(_files_in(self.path)) - set(self.manifest.files))

    def _content(self, name: str, keep: bool = True) -> np.ndarray:
        """The bytes of a file, uint8, read once and compared as they were read; without `keep` only compared."""
        path, expected, digest = self.file(name), self.manifest.files[name], hashlib.sha256()
        try:
            with open_regular(path) as file:
                size = os.fstat(file.fileno()).st_size
                if size != expected.bytes:
                    raise BundleError(
                        f"expected {path} with {expected.bytes:,} bytes; got {size:,}; copy or export the bundle again"
                    )
                content = np.empty(size if keep else min(size, BLOCK), np.uint8)
                filled = 0
                while count := file.readinto(content.data[filled : filled + BLOCK]):
                    digest.update(content.data[filled : filled + count])
                    filled += count if keep else 0
        except OSError as error:
            got = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
            raise BundleError(f"expected {path}; got {got}; copy or export the bundle again") from None
        if digest.hexdigest() != expected.sha256:
            raise BundleError(f"expected {path} as export wrote it; got edited bytes; copy or export it again")
        return content


def seal(folder: str | Path, document: Mapping[str, Any]) -> Manifest:
    """Ends the writing of a bundle: adds every file's digest and the three ids, then writes the manifest.

    `document` holds all other manifest fields (schema_version may be left out). Sealing again after adding a file
    keeps bundle_id and state_id; open the bundle with its checks before that, or an edited file would be sealed as
    genuine.
    """
    folder = Path(folder)
    files = {
        name: {"sha256": sha256_file(folder / name), "bytes": (folder / name).stat().st_size}
        for name in _files_in(folder)
    }
    complete = {**document, "schema_version": SCHEMA_VERSION, "files": files}
    complete = json.loads(canonical_json(complete))
    items = folder / ITEMS
    complete["item_rows"] = Catalogue.parse(items.read_bytes(), items, complete["model"]["num_items"]).item_rows()
    complete["bundle_id"], complete["state_id"] = bundle_id(complete), state_id(complete)
    complete["digest"] = manifest_digest(complete)
    manifest = Manifest.from_document(complete)
    atomic_write(folder / MANIFEST, canonical_json(complete))
    return manifest


def _read_manifest(folder: Path) -> Manifest:
    if not folder.is_dir():
        raise BundleError(f"expected a bundle folder at {folder}; got no such folder; run `deployrec export` first")
    path = folder / MANIFEST
    try:
        with open_regular(path) as file:
            content = file.read(MOST_MANIFEST + 1)
    except OSError as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise BundleError(f"expected {path}; got {got}; name a folder that `deployrec export` wrote") from None
    if len(content) > MOST_MANIFEST:
        raise BundleError(f"expected {path} of at most {MOST_MANIFEST:,} bytes; got more; export the bundle again")
    try:
        document = json.loads(content)
        if not isinstance(document, dict):
            raise ValueError("no object")
        canonical = canonical_json(document).encode() == content
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"expected JSON in {path}; got a broken file ({first_line(error)}); export it again"
        ) from None
    if not canonical:
        raise BundleError(f"expected {path} as export wrote it; got edited bytes; copy or export the bundle again")
    return Manifest.from_document(document)


def _axes(tensor: GraphTensor | Value) -> str:
    return f"{tensor.name} {tensor.dtype} [{', '.join(map(str, tensor.shape))}]"


def _and(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "no others"


def _files_in(folder: Path) -> list[str]:
    known = (MANIFEST, SIGNATURE)
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(name for path in paths if (name := path.relative_to(folder).as_posix()) not in known)
