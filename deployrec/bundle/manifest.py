"""manifest.json as a dataclass: what a bundle holds, checked field by field.

An item id is the user's own, as in items.csv; an item row is its place there, 1 to num_items, and 0 is padding. All
int64 tensors of the graphs but `lengths` hold rows, also where their name in the format says `item_id` or `items`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from deployrec.errors import BundleError
from deployrec.files import sha256_json
from deployrec.state import StateSpec

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
ITEMS = "items.csv"
ITEM_TABLE = "items.bin"
PARITY = "parity.json"
PARITY_CASES = "parity_cases.npz"
GRAPHS = ("step", "encode", "score")


@dataclass(frozen=True)
class GraphTensor:
    """One input or output of a graph; symbolic axes are names ("B", "T", "E")."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    file: str
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]


@dataclass(frozen=True)
class FileDigest:
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json; `document` is the JSON value itself, with fields that only a writer knows."""

    bundle_id: str
    digest: str
    created: str
    model: dict[str, Any]
    """key, config, num_items, dim, and class, "module:Class", of a model from outside"""
    state: StateSpec
    graphs: dict[str, Graph]
    opset: int
    top_k: int
    encode_chunk: int
    """events of one encode call; longer histories go in chunks"""
    data: dict[str, Any]
    training: dict[str, Any]
    versions: dict[str, Any]
    files: dict[str, FileDigest]
    document: dict[str, Any]

    @property
    def num_items(self) -> int:
        return int(self.model["num_items"])

    @property
    def dim(self) -> int:
        return int(self.model["dim"])

    @property
    def window(self) -> int:
        """How many newest events a user is read again from where the state is not exact; 0 where it always is."""
        return self.state.exact_up_to or (0 if "step" in self.graphs else self.encode_chunk)

    def newest(self, history: np.ndarray) -> np.ndarray:
        """What the model reads of a whole history, oldest first: all of it, or the newest `window` events."""
        return history[-self.window :] if self.window else history

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Manifest:
        """Checks every field; raises BundleError for a newer schema, a missing or mistyped field, or a wrong digest."""
        version = _field(document, "schema_version", int)
        if version > SCHEMA_VERSION:
            raise BundleError(
                f"expected a bundle of schema {SCHEMA_VERSION}; got schema {version}; upgrade deployrec to read it"
            )
        if version < 1:
            raise BundleError(f"expected a bundle of schema {SCHEMA_VERSION}; got schema {version}; export it again")
        digest = _field(document, "digest", str)
        if digest != manifest_digest(document):
            raise BundleError(f"expected {MANIFEST} as export wrote it; got edited content; export the bundle again")
        files = {name: _digest(name, entry) for name, entry in _field(document, "files", dict).items()}
        model = _field(document, "model", dict)
        for name, kind in (("key", str), ("config", dict), ("num_items", int), ("dim", int)):
            _field(model, name, kind, "model.")
        manifest = cls(
            bundle_id=_field(document, "bundle_id", str),
            digest=digest,
            created=_field(document, "created", str),
            model=model,
            state=_state(_field(document, "state", dict)),
            graphs={name: _graph(name, entry) for name, entry in _field(document, "graphs", dict).items()},
            opset=_field(document, "opset", int),
            top_k=_field(document, "top_k", int),
            encode_chunk=_field(document, "encode_chunk", int),
            data=_field(document, "data", dict),
            training=_field(document, "training", dict),
            versions=_field(document, "versions", dict),
            files=files,
            document=document,
        )
        for graph in ("encode", "score"):
            if graph not in manifest.graphs:
                raise BundleError(f"expected a graph '{graph}' in {MANIFEST}; got none; export the bundle again")
        for file in (*(graph.file for graph in manifest.graphs.values()), WEIGHTS, ITEMS):
            if file not in files:
                raise BundleError(f"expected '{file}' in {MANIFEST} files; got none; export the bundle again")
        if manifest.bundle_id != bundle_id(document):
            raise BundleError("expected bundle_id to match model, state, weights and items; got another; export again")
        return manifest


def bundle_id(document: dict[str, Any]) -> str:
    """Names what a stored state depends on: schema, model, state layout, weights and items; engines do not count.

    `document` holds schema_version, model, state and files (with the digests of weights.safetensors and items.csv).
    """
    return sha256_json(
        {
            "schema_version": document["schema_version"],
            "model": document["model"],
            "state": document["state"],
            "weights": document["files"][WEIGHTS]["sha256"],
            "items": document["files"][ITEMS]["sha256"],
        }
    )


def manifest_digest(document: dict[str, Any]) -> str:
    """Covers everything in the manifest but the digest itself."""
    return sha256_json({key: value for key, value in document.items() if key != "digest"})


def _field(document: dict[str, Any], name: str, kind: type, where: str = "") -> Any:
    value = document.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        got = "nothing" if value is None else type(value).__name__
        raise BundleError(
            f"expected {MANIFEST} field '{where}{name}' of type {kind.__name__}; got {got}; export the bundle again"
        )
    return value


def _state(document: dict[str, Any]) -> StateSpec:
    try:
        return StateSpec.from_dict(document)
    except (KeyError, TypeError) as error:
        raise BundleError(f"expected a state layout in {MANIFEST}; got a broken one ({error}); export again") from None


def _graph(name: str, document: Any) -> Graph:
    if name not in GRAPHS or not isinstance(document, dict):
        raise BundleError(f"expected graphs {', '.join(GRAPHS)} in {MANIFEST}; got '{name}'; export the bundle again")
    where = f"graphs.{name}."
    try:
        inputs, outputs = (
            tuple(GraphTensor(t["name"], t["dtype"], tuple(t["shape"])) for t in _field(document, side, list, where))
            for side in ("inputs", "outputs")
        )
    except (KeyError, TypeError) as error:
        raise BundleError(
            f"expected name, dtype and shape of each tensor in {where}; got {error}; export again"
        ) from None
    return Graph(_field(document, "file", str, where), inputs, outputs)


def _digest(name: str, document: Any) -> FileDigest:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or name != str(path) or name == MANIFEST:
        raise BundleError(f"expected file names inside the bundle; got '{name}'; export the bundle again")
    if not isinstance(document, dict):
        raise BundleError(f"expected sha256 and bytes of '{name}' in {MANIFEST}; got neither; export the bundle again")
    where = f"files.{name}."
    return FileDigest(_field(document, "sha256", str, where), _field(document, "bytes", int, where))
