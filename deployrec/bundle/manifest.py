"""manifest.json as a dataclass: what a bundle holds, checked field by field.

An item id is the user's own, as in items.csv; an item row is its place there, 1 to num_items, and 0 is padding. All
int64 tensors of the graphs but `lengths` hold rows, also where their name in the format says `item_id` or `items`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from deployrec.bundle.graph import Graph, GraphTensor
from deployrec.bundle.table import DTYPES
from deployrec.bundle.time_facts import ELAPSED, TimeFacts
from deployrec.errors import BundleError
from deployrec.files import canonical_json, sha256_json
from deployrec.state import StateSpec, StateTensor

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
"""Beside the manifest, and in nobody's digest; see deployrec.bundle.signing."""
WEIGHTS = "weights.safetensors"
ITEMS = "items.csv"
ITEM_TABLE = "items.bin"
SCALES = "items.scales.bin"
"""Of an int8 item table: float32, one an item."""
PARITY = "parity.json"
PARITY_CASES = "parity_cases.npz"
INDEX = "index.faiss"
INDEX_USERS = "index_users.npy"
"""Vectors of real users [U, D], on which the index was measured and is measured again."""
RETIRED = "retired.csv"
"""Ids of items that are never recommended; in the bundles that have such."""
TOWER = "tower.npz"
"""See deployrec.export.tower."""
GRAPHS = ("step", "advance", "encode", "score", "moment")

UNITS = ("s", "ms", "us", "ns")
"""In which a log counts time."""

MOST_ITEMS = 2**31 - 2
"""Records hold item rows as int32."""
MOST_SIZE = 2**20
"""Of a vector, an axis or a chunk: far beyond any model, and no number that memory is lost on."""
MOST_STATE = 2**26
"""Numbers in one user's state."""


@dataclass(frozen=True)
class FileDigest:
    sha256: str
    bytes: int


@dataclass(frozen=True)
class TableFacts:
    """What the item table was rounded to, and what that costs."""

    dtype: str = "float32"
    recall: float = 1.0
    """which share of the ten best items of the model as it was trained come, on average over users"""
    users: int = 0


@dataclass(frozen=True)
class IndexFacts:
    """An approximate index over the item table, and how well it finds what is best."""

    kind: str
    """in the words of faiss"""
    probes: int
    """how many of its lists a request reads"""
    recall: float
    """which share of the exact ten best items it finds, on average over the users it was measured on"""
    users: int
    library: str


@dataclass(frozen=True)
class Base:
    """The bundle that items were added to, whose states this one reads: its items come first, in the same rows."""

    num_items: int
    item_rows: str
    files: dict[str, str]
    """digests of its weights and its item table"""
    lineage: tuple[str, ...]
    """`item_rows` of every bundle between, the base's own first"""


@dataclass(frozen=True)
class Manifest:
    """The content of manifest.json; `document` is the JSON value itself, with fields that only a writer knows."""

    bundle_id: str
    """names what decides an answer; see `bundle_id`"""
    state_id: str
    """names what a stored state depends on; see `state_id`"""
    digest: str
    created: str
    model: dict[str, Any]
    """key, config, num_items, dim, and class, "module:Class", of a model from outside"""
    state: StateSpec
    graphs: dict[str, Graph]
    opset: int
    encode_chunk: int
    """events of one encode call; longer histories go in chunks"""
    exclude_seen: bool
    """whether lists leave out what the user has seen, where a request does not say"""
    data: dict[str, Any]
    training: dict[str, Any]
    certificate: tuple[int, ...]
    """numbers of events of the certificate's histories; none for a bundle that was made without one"""
    endless: dict[str, int]
    """up to how many events each kind of endless history, such as one item over and over, was found within the gates"""
    versions: dict[str, Any]
    table: TableFacts
    time: TimeFacts | None
    """None where the seconds since the last event change nothing"""
    index: IndexFacts | None
    base: Base | None
    item_rows: str
    """digest of which item is which row; see `Catalogue.item_rows`"""
    files: dict[str, FileDigest]
    document: dict[str, Any]

    @property
    def content(self) -> bytes:
        """The bytes of manifest.json."""
        return canonical_json(self.document).encode()

    @property
    def deciding(self) -> list[str]:
        """The files that decide an answer."""
        return _deciding(self.document)

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
        if version < SCHEMA_VERSION:
            raise BundleError(f"expected a bundle of schema {SCHEMA_VERSION}; got schema {version}; export it again")
        digest = _field(document, "digest", str)
        if digest != manifest_digest(document):
            raise BundleError(f"expected {MANIFEST} as export wrote it; got edited content; export the bundle again")
        files = {name: _digest(name, entry) for name, entry in _field(document, "files", dict).items()}
        model = _field(document, "model", dict)
        for name, kind in (("key", str), ("config", dict)):
            _field(model, name, kind, "model.")
        _whole(model, "num_items", MOST_ITEMS, "model.")
        _whole(model, "dim", MOST_SIZE, "model.")
        data, training = _field(document, "data", dict), _field(document, "training", dict)
        _check_data(data)
        _check_metrics(training.get("metrics"))
        manifest = cls(
            bundle_id=_field(document, "bundle_id", str),
            state_id=_field(document, "state_id", str),
            digest=digest,
            created=_field(document, "created", str),
            model=model,
            state=_state(_field(document, "state", dict)),
            graphs={name: _graph(name, entry) for name, entry in _field(document, "graphs", dict).items()},
            opset=_whole(document, "opset", MOST_SIZE),
            encode_chunk=_whole(document, "encode_chunk", MOST_SIZE),
            exclude_seen=_truth(document, "exclude_seen", True),
            data=data,
            training=training,
            certificate=_lengths(_field(document, "certificate", dict)),
            endless=_endless(document["certificate"]),
            versions=_field(document, "versions", dict),
            table=_table(document.get("table")),
            time=_time(document.get("time")),
            index=_index(document.get("index"), files),
            base=_base(document.get("base")),
            item_rows=_field(document, "item_rows", str),
            files=files,
            document=document,
        )
        needed = ("step", "advance") if not {"step", "advance"}.isdisjoint(manifest.graphs) else ()
        for graph in (*needed, "encode", "score"):
            if graph not in manifest.graphs:
                raise BundleError(f"expected a graph '{graph}' in {MANIFEST}; got none; export the bundle again")
        for file in _deciding(document):
            if file not in files:
                raise BundleError(f"expected '{file}' in {MANIFEST} files; got none; export the bundle again")
        _check_state_in_graphs(manifest)
        _check_time_in_graphs(manifest)
        if manifest.bundle_id != bundle_id(document) or manifest.state_id != state_id(document):
            raise BundleError(
                f"expected bundle_id and state_id of what {MANIFEST} lists; got others; export the bundle again"
            )
        return manifest


def bundle_id(document: dict[str, Any]) -> str:
    """Names everything that decides an answer: model, state layout, graphs and what they read, weights, items.

    An engine, an index, the certificate and a signature do not count. `document` holds the manifest's own fields.
    """
    named = ("schema_version", "model", "state", "graphs", "opset", "encode_chunk")
    files = {file: document["files"][file]["sha256"] for file in _deciding(document)}
    return sha256_json({**{name: document[name] for name in named}, **_unit(document), "files": files})


def state_id(document: dict[str, Any]) -> str:
    """Names what a stored state depends on: model and its configuration, state layout, weights, item table, and which
    item is which row. Bundles that differ elsewhere, such as in titles or popularity, take each other's states; so does
    one with added items, whose id is that of the bundle that they were added to."""
    window = None if "step" in document["graphs"] else document["encode_chunk"]
    files = {file: document["files"][file]["sha256"] for file in (WEIGHTS, ITEM_TABLE)}
    named = {name: document[name] for name in ("schema_version", "model", "state", "item_rows")}
    if base := document.get("base"):
        named["model"] = {**document["model"], "num_items": base["num_items"]}
        named["item_rows"], files = base["item_rows"], base["files"]
    return sha256_json({**named, **_unit(document), "window": window, "files": files})


def _unit(document: dict[str, Any]) -> dict[str, str]:
    """In which a time-aware bundle counts time, and its states hold that of the last event; nothing of another."""
    return {"time": document["time"]["unit"]} if document.get("time") else {}


def _deciding(document: dict[str, Any]) -> list[str]:
    """The files that decide an answer."""
    own = {name for name in (RETIRED, SCALES) if name in document["files"]}
    return sorted({*(graph["file"] for graph in document["graphs"].values()), ITEM_TABLE, WEIGHTS, ITEMS, *own})


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


def _whole(document: dict[str, Any], name: str, most: int, where: str = "", least: int = 1) -> int:
    value = _field(document, name, int, where)
    if not least <= value <= most:
        raise BundleError(
            f"expected {MANIFEST} field '{where}{name}' from {least} to {most:,}; got {_short(value)}; "
            "export the bundle again"
        )
    return int(value)


def _truth(document: dict[str, Any], name: str, usual: bool) -> bool:
    value = document.get(name, usual)
    if not isinstance(value, bool):
        raise BundleError(
            f"expected {MANIFEST} field '{name}' as true or false; got {_short(value)}; export the bundle again"
        )
    return value


def _lengths(certificate: dict[str, Any]) -> tuple[int, ...]:
    lengths = _field(certificate, "lengths", list, "certificate.")
    for length in lengths:
        _whole({"length": length}, "length", MOST_ITEMS, "certificate.", least=0)
    return tuple(lengths)


def _endless(certificate: dict[str, Any]) -> dict[str, int]:
    kinds = _field(certificate, "endless", dict, "certificate.")
    return {kind: _whole(kinds, kind, MOST_ITEMS, "certificate.endless.", least=0) for kind in kinds}


def _check_data(data: dict[str, Any]) -> None:
    for name in ("name", "digest"):
        _field(data, name, str, "data.")
    for name in ("num_users", "num_items", "num_events"):
        _whole(data, name, 2**63 - 1, "data.", least=0)


def _table(document: Any) -> TableFacts:
    if document is None:
        return TableFacts()
    if not isinstance(document, dict) or document.get("dtype") not in DTYPES:
        raise BundleError(
            f"expected a table of {', '.join(DTYPES)} in {MANIFEST}; got {_short(document)}; export again"
        )
    users = _whole(document, "users", MOST_ITEMS, "table.", least=0)
    return TableFacts(document["dtype"], _field(document, "recall", float, "table."), users)


def _time(document: Any) -> TimeFacts | None:
    if document is None:
        return None
    if not isinstance(document, dict) or document.get("unit") not in UNITS:
        raise BundleError(f"expected a time in {', '.join(UNITS)} in {MANIFEST}; got {_short(document)}; export again")
    max_gap = _field(document, "max_gap", float, "time.")
    if not 0 <= max_gap < np.inf:
        raise BundleError(f"expected time.max_gap in {MANIFEST} from 0; got {max_gap}; export the bundle again")
    calendar = _truth(document, "calendar", False)
    return TimeFacts(document["unit"], _field(document, "resolution", str, "time."), max_gap, calendar)


def _index(document: Any, files: dict[str, FileDigest]) -> IndexFacts | None:
    if document is None:
        return None
    if not isinstance(document, dict) or not {INDEX, INDEX_USERS} <= files.keys():
        raise BundleError(f"expected what is known of {INDEX} in {MANIFEST}; got {_short(document)}; export again")
    kind, library = (_field(document, name, str, "index.") for name in ("kind", "library"))
    probes, users = (_whole(document, name, MOST_ITEMS, "index.") for name in ("probes", "users"))
    return IndexFacts(kind, probes, _field(document, "recall", float, "index."), users, library)


def _base(document: Any) -> Base | None:
    if document is None:
        return None
    if not isinstance(document, dict):
        raise BundleError(f"expected what items were added to in {MANIFEST}; got {_short(document)}; export again")
    files = _field(document, "files", dict, "base.")
    lineage = _field(document, "lineage", list, "base.")
    if set(files) != {WEIGHTS, ITEM_TABLE} or not all(isinstance(text, str) for text in (*files.values(), *lineage)):
        raise BundleError(f"expected digests of what items were added to in {MANIFEST}; got others; export again")
    num_items = _whole(document, "num_items", MOST_ITEMS, "base.")
    return Base(num_items, _field(document, "item_rows", str, "base."), files, tuple(lineage))


def _check_metrics(metrics: Any) -> None:
    """A training's figures are texts to print: split -> rows -> scorer -> kind -> metric -> number."""
    try:
        for figures in () if metrics is None else metrics.values():
            for kinds in figures.get("rows", {}).values() if isinstance(figures, dict) else ():
                for kind in ("masked", "unmasked"):
                    if not all(isinstance(kinds[kind][metric], int | float) for metric in ("hr@10", "ndcg@10")):
                        raise TypeError("text for a number")
    except (AttributeError, KeyError, TypeError) as error:
        raise BundleError(
            f"expected the figures of a training in {MANIFEST}; got others ({error}); export the bundle again"
        ) from None


def _state(document: dict[str, Any]) -> StateSpec:
    tensors = tuple(
        _tensor(entry, f"state.tensors[{n}].") for n, entry in enumerate(_field(document, "tensors", list, "state."))
    )
    exact_up_to = None if document.get("exact_up_to") is None else _whole(document, "exact_up_to", MOST_ITEMS, "state.")
    if any(isinstance(axis, str) for t in tensors for axis in t.shape) or any(t.dtype != "float32" for t in tensors):
        raise BundleError(f"expected state tensors of float32 and fixed shapes in {MANIFEST}; got others; export again")
    spec = StateSpec(tuple(StateTensor(t.name, tuple(map(int, t.shape)), t.dtype) for t in tensors), exact_up_to)
    if spec.floats > MOST_STATE or len({tensor.name for tensor in tensors}) < len(tensors):
        raise BundleError(
            f"expected state tensors of different names and {MOST_STATE:,} numbers at most in {MANIFEST}; got "
            f"{_short(spec.floats)} numbers in {len(tensors)} tensors; export the bundle again"
        )
    return spec


def _graph(name: str, document: Any) -> Graph:
    if name not in GRAPHS or not isinstance(document, dict):
        raise BundleError(f"expected graphs {', '.join(GRAPHS)} in {MANIFEST}; got '{name}'; export the bundle again")
    where = f"graphs.{name}."
    inputs, outputs = (
        tuple(_tensor(t, f"{where}{side}[{n}].") for n, t in enumerate(_field(document, side, list, where)))
        for side in ("inputs", "outputs")
    )
    return Graph(_field(document, "file", str, where), inputs, outputs)


def _tensor(document: Any, where: str) -> GraphTensor:
    if not isinstance(document, dict):
        raise BundleError(f"expected name, dtype and shape of {where[:-1]} in {MANIFEST}; got none; export again")
    shape = _field(document, "shape", list, where)
    for axis in shape:
        if not (isinstance(axis, str) or (type(axis) is int and 1 <= axis <= MOST_ITEMS)):
            raise BundleError(
                f"expected axes of {where}shape in {MANIFEST} as names or numbers from 1; got {_short(axis)}; "
                "export the bundle again"
            )
    return GraphTensor(_field(document, "name", str, where), _field(document, "dtype", str, where), tuple(shape))


def _check_state_in_graphs(manifest: Manifest) -> None:
    """Every graph that takes or gives states takes or gives all of them, in their shapes."""
    for name, graph in manifest.graphs.items():
        for side, kind in ((graph.inputs, "past"), (graph.outputs, "present")):
            found = {t for t in side if t.name.startswith(f"{kind}.")}
            expected = {GraphTensor(getattr(t, kind), t.dtype, ("B", *t.shape)) for t in manifest.state.tensors}
            if found != (set() if name in ("score", "moment") else expected):
                raise BundleError(
                    f"expected the {kind} tensors of graphs.{name} as {MANIFEST} describes the state; got others; "
                    "export the bundle again"
                )


def _check_time_in_graphs(manifest: Manifest) -> None:
    """What scores is told the moment, as a time-aware bundle's calendar has it, and nothing else is."""
    told = {name: t for name, graph in manifest.graphs.items() for t in graph.inputs if t.name == ELAPSED}
    scoring = {"step", "score", "moment"} & {*manifest.graphs, "moment"}
    expected = dict.fromkeys(scoring, manifest.time.elapsed) if manifest.time else {}
    if told != expected:
        graphs, got = (
            ", ".join(f"{name} {list(t.shape)}" for name, t in sorted(inputs.items())) or "none"
            for inputs in (expected, told)
        )
        raise BundleError(
            f"expected '{ELAPSED}' as an input of the graphs that {MANIFEST} says ({graphs}); got {got}; "
            "export the bundle again"
        )


def _digest(name: str, document: Any) -> FileDigest:
    path = PurePosixPath(name)
    if (
        not name
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in name
        or name != str(path)
        or name in (MANIFEST, SIGNATURE)
    ):
        raise BundleError(f"expected file names inside the bundle; got '{name}'; export the bundle again")
    if "\0" in name:
        raise BundleError("expected file names inside the bundle; got one with a NUL; export the bundle again")
    if not isinstance(document, dict):
        raise BundleError(f"expected sha256 and bytes of '{name}' in {MANIFEST}; got neither; export the bundle again")
    where = f"files.{name}."
    return FileDigest(_field(document, "sha256", str, where), _whole(document, "bytes", 2**63 - 1, where, least=0))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
