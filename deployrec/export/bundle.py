"""From a trained model to a sealed bundle: written beside the target, checked, then renamed into place."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.catalogue import Catalogue
from deployrec.bundle.graph import Graph
from deployrec.bundle.manifest import ITEMS, PARITY, PARITY_CASES, TOWER, WEIGHTS
from deployrec.bundle.parity import CERTIFIED_K, LONG, Comparison, ParityCases
from deployrec.bundle.table import DTYPES
from deployrec.bundle.time_facts import TimeFacts
from deployrec.bundle.writing import check_target, writing
from deployrec.data import Dataset, write_items
from deployrec.data.units import resolution
from deployrec.errors import ConfigError, ParityError
from deployrec.export import parity
from deployrec.export.graphs import write_graphs
from deployrec.export.index import write_index
from deployrec.export.narrow import narrow_files, round_table
from deployrec.export.onnx_ops import OPSET
from deployrec.export.parity import (
    ENCODE_CHUNK,
    History,
    choose_histories,
    compare_torch,
    reference_cases,
    served,
    split_held,
)
from deployrec.export.tower import fit_tower
from deployrec.files import atomic_write, canonical_json, sha256_file
from deployrec.models import SequentialRecommender, identity
from deployrec.models.time import Moment
from deployrec.progress import Progress, silent
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.reader import Reader
from deployrec.runtime.verify import VerifyReport, compare_graphs
from deployrec.state import StateSpec

MAX_EXCLUDE = 512
MEASURED_USERS = 1000
READ = 64
"""Histories of one call to the encode graph."""


@dataclass(frozen=True)
class ExportReport:
    """The sealed bundle and every comparison of its certificate."""

    bundle: Bundle
    comparisons: list[Comparison]

    def __repr__(self) -> str:
        """As `verify` prints the same certificate."""
        return repr(VerifyReport(self.bundle, self.comparisons, [])).replace("VerifyReport", "ExportReport", 1)


def export_bundle(
    model: SequentialRecommender,
    dataset: Dataset,
    out: str | Path,
    *,
    window: int = 200,
    longest: int | None = None,
    training: dict[str, Any] | None = None,
    exclude_seen: bool | None = None,
    table: str = "float32",
    index: bool = False,
    tower: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> ExportReport:
    """Exports `model`, trained on `dataset`, to the folder `out`.

    window: events of a training window, an edge that the certificate covers; longest: events of the certificate's
    longest histories, by default 100,000 (at 2,000 it takes half a minute less); training: what the manifest says about
    the training run; exclude_seen: whether lists leave out seen items where a request does not say, by default unless
    the log has repeat purchases; table: what the item table is rounded to, "float32", "float16" or "int8"; index: build
    an approximate index over the items too (extra `index`), which the runtime then searches; tower: fit what makes
    vectors of new items' columns (extra `items`); progress hears of every graph and every history.
    Raises ConfigError for an `out` that exists (unless `force`, and it is a bundle), a `window` or `longest` out of
    range, a model of another catalogue than the data set's or with weights that are not finite, a time-aware one of a
    log without times; ParityError if a gate
    fails (the report is then OUT.parity-failed.json); BundleError if the disk refuses. Nothing else is left.
    """
    out = Path(out)
    _check_fit(model, dataset, window)
    longest = parity.LONGEST if longest is None else check_longest(longest)
    check_target(out, force)
    check_weights(model)
    model, facts = model.cpu().float().eval(), None
    time = None if model.moment is None else _time(dataset, model.moment)
    if table not in DTYPES:
        raise ConfigError(f"expected a table of {', '.join(DTYPES)}; got {table!r}; name one of them")
    if table != "float32":
        model = copy.deepcopy(model)
        stored, facts = round_table(model, table, [served(model, rows) for rows in _measured(dataset)])
    with writing(out, force) as folder, torch.no_grad():
        atomic_write(folder / WEIGHTS, save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
        write_items(dataset.items, folder / ITEMS)
        graphs = write_graphs(model, folder, time, progress)
        if facts:
            narrow_files(folder, graphs.values(), stored)
        document = describe(model, graphs, data=dataset.summary(), training=training or {})
        document["exclude_seen"] = not dataset.repeats if exclude_seen is None else exclude_seen
        if facts:
            document["table"] = asdict(facts)
        if time:
            document["time"] = asdict(time)
        if tower:
            progress(0, 0, "fitting the tower")
            catalogue = Catalogue.parse((folder / ITEMS).read_bytes(), folder / ITEMS, model.num_items)
            fitted = fit_tower(catalogue, model.embedding.weight.numpy(), model.num_items)
            atomic_write(folder / TOWER, fitted.content())
        histories = choose_histories(dataset, edges(window), longest)
        comparisons = certify_model(model, histories, document, folder, out, progress)
        if index:
            progress(0, 0, "building the index")
            document["index"] = _index(Bundle.open(folder, check=False), dataset, folder)
            seal(folder, document)
    return ExportReport(Bundle.open(out), comparisons)


def certify_model(
    model: SequentialRecommender,
    histories: Sequence[History],
    document: dict[str, Any],
    folder: Path,
    out: Path,
    progress: Progress = silent,
) -> list[Comparison]:
    """`certify` of a model's graphs on the histories, against a float64 copy of it and beside its own paths."""
    k = min(CERTIFIED_K, model.num_items)
    progress(0, 0, f"answering {len(histories)} histories in float64")
    deciding = {path.name: sha256_file(path) for path in folder.iterdir()}
    cases = reference_cases(model, histories, deciding, k, MAX_EXCLUDE)
    return certify(folder, out, document, cases, compare_torch(model, cases, k, progress), progress)


def certify(
    folder: Path,
    out: Path,
    document: dict[str, Any],
    cases: ParityCases,
    own: Sequence[Comparison],
    progress: Progress = silent,
) -> list[Comparison]:
    """Seals the bundle in `folder` with a certificate, its graphs compared with the answers; `document` gets it too.

    own: comparisons of what the graphs were made from. Returns all of them; raises ParityError, and writes the report
    as OUT.parity-failed.json, if one fails but on endless histories, which are then left out.
    """
    cases.save(folder / PARITY_CASES)
    document["certificate"] = {"lengths": cases.lengths, "endless": {}}
    seal(folder, document)
    comparisons = [*own, *compare_graphs(Bundle.open(folder), cases, progress=progress)]
    places, held = split_held(cases, comparisons)
    kept = cases.keep(places)
    labels = {cases.label(place): kept.label(case) for case, place in enumerate(places)}
    comparisons = [replace(row, case=labels[row.case]) for row in comparisons if row.case in labels]
    _write_report(comparisons, folder, out)
    kept.save(folder / PARITY_CASES)
    document["certificate"] = {"lengths": kept.lengths, "endless": held}
    seal(folder, document)
    return comparisons


def describe(
    model: SequentialRecommender, graphs: Mapping[str, Graph], data: dict[str, Any], training: dict[str, Any]
) -> dict[str, Any]:
    """The manifest's content of a bundle without a certificate, but for what `seal` adds: digests and ids."""
    described = {**identity(model), "num_items": model.num_items, "dim": model.config.dim}
    return manifest_of(described, model.state_spec, graphs, data, training)


def manifest_of(
    model: dict[str, Any],
    state: StateSpec,
    graphs: Mapping[str, Graph],
    data: dict[str, Any],
    training: dict[str, Any],
    opset: int = OPSET,
) -> dict[str, Any]:
    """`describe` of any model: its key, config, num_items and dim."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": model,
        "state": state.to_dict(),
        "graphs": {name: asdict(graph) for name, graph in graphs.items()},
        "opset": opset,
        "encode_chunk": ENCODE_CHUNK,
        "exclude_seen": True,
        "certificate": {"lengths": [], "endless": {}},
        "data": data,
        "training": training,
        "versions": _versions(),
    }


def _index(bundle: Bundle, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Builds the index and measures it on users of the data set."""
    reader = Reader(bundle.manifest, load_backend("onnxruntime", bundle))
    read = [bundle.manifest.newest(history) for history in _measured(dataset)]
    users = [reader.encode(read[start : start + READ]).user.copy() for start in range(0, len(read), READ)]
    return write_index(bundle.item_table(), np.concatenate(users), folder, np.zeros(0, np.int64))


def _time(dataset: Dataset, moment: Moment) -> TimeFacts:
    """How the log of a time-aware model counts time; ConfigError for a log without times."""
    times = dataset.clock()
    longest = float(dataset.gaps().max(initial=0))
    return TimeFacts(dataset.time_unit, resolution(times, dataset.time_unit), longest, moment.calendar is not None)


def _measured(dataset: Dataset) -> list[np.ndarray]:
    """Histories on which lists are compared, evenly from the shortest to the longest."""
    lengths = np.diff(dataset.offsets)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    places = np.unique(np.linspace(0, len(order) - 1, MEASURED_USERS).astype(int))
    return [dataset.history(int(user)) for user in order[places]]


def _check_fit(model: object, dataset: object, window: object) -> None:
    if not isinstance(model, SequentialRecommender):
        hint = "pass its model()" if hasattr(model, "model") else "pass a trained model"
        raise ConfigError(f"expected a model; got {type(model).__name__}; {hint}")
    if not isinstance(dataset, Dataset):
        raise ConfigError(f"expected a data set; got {type(dataset).__name__}; pass what `load_dataset` returns")
    if model.num_items != dataset.num_items:
        raise ConfigError(
            f"expected the data that the model was trained on, {model.num_items:,} items; got {dataset.name} with "
            f"{dataset.num_items:,}; pass that data set"
        )
    if not (isinstance(window, int) and window >= 1):
        raise ConfigError(f"expected window as a whole number of at least 1; got {window!r}; pass the training's")


def check_longest(longest: int) -> int:
    """Raises ConfigError for what is no length of a certificate's longest histories."""
    if not (isinstance(longest, int) and LONG <= longest <= parity.LONGEST):
        raise ConfigError(
            f"expected longest from {LONG:,} to {parity.LONGEST:,} events; got {longest!r}; leave it out for the most"
        )
    return longest


def check_weights(model: SequentialRecommender) -> None:
    """Raises ConfigError for a weight that is NaN or infinite."""
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ConfigError(f"expected finite weights; got NaN or infinity in {name}; train the model again")


def edges(window: int) -> list[int]:
    """History lengths at which an implementation is most likely to be wrong."""
    return [0, 1, 2, 3, 4, 5, window - 1, window, ENCODE_CHUNK - 1, ENCODE_CHUNK, ENCODE_CHUNK + 1]


def _write_report(comparisons: list[Comparison], folder: Path, out: Path) -> None:
    """Writes parity.json; on a failed gate the report goes beside `out` instead, and ParityError is raised."""
    failed = [row for row in comparisons if not row.passed]
    report = canonical_json({"passed": not failed, "comparisons": [row.to_dict() for row in comparisons]})
    if failed:
        target = out.with_name(f"{out.name}.parity-failed.json")
        atomic_write(target, report)
        worst = max(failed, key=lambda row: row.strain)
        raise ParityError(
            f"expected {worst.comparison} within {worst.limit:.1e} of the float64 reference; got {worst.figure:.1e} "
            f"for {worst.quantity} in {worst.case} ({len(failed)} of {len(comparisons)} failed); read {target}"
        )
    atomic_write(folder / PARITY, report)


def _versions() -> dict[str, str]:
    wanted = ("deployrec", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu")
    installed = {distribution.name: distribution.version for distribution in distributions()}
    return {name: installed[name] for name in wanted if name in installed}
