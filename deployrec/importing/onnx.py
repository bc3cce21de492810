"""Somebody's own recurrent step, an ONNX graph from any framework, becomes a bundle with a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from onnx import numpy_helper
from safetensors.numpy import save

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import ITEMS, WEIGHTS
from deployrec.bundle.parity import CERTIFIED_K, LONG
from deployrec.bundle.writing import check_target, writing
from deployrec.data import Dataset, load_dataset, write_items
from deployrec.export import parity
from deployrec.export.bundle import MAX_EXCLUDE, ExportReport, certify, check_longest, edges, manifest_of
from deployrec.export.parity import choose_histories
from deployrec.files import atomic_write, sha256_file
from deployrec.importing.catalogue import read_catalogue
from deployrec.importing.float64 import Float64Graph
from deployrec.importing.step_bundle import graph_of, write_step_graphs
from deployrec.importing.step_graph import StepGraph
from deployrec.importing.step_parity import compare_source, reference_answers
from deployrec.importing.step_parts import Parts, parts_of
from deployrec.importing.step_session import StepSession
from deployrec.progress import Progress, silent

WINDOW = 200
"""Around so many events, too, a certificate is held."""


def import_onnx(
    step: str | Path,
    items: str | Path,
    out: str | Path,
    *,
    state: Sequence[str],
    scores: str | None = None,
    data: str | Path | None = None,
    longest: int | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> ExportReport:
    """Makes the bundle `out` of a graph that reads one item a row and a state.

    step     an ONNX file: items [B] or [B, 1], int64 or int32, and state tensors with an open batch axis in; scores
             [B, N] or, with a padding item 0, [B, N + 1] and the next state out. A user without events has zeros
    items    a file of items (CSV, TSV, Parquet) with a column item_id: line n is the graph's item n
    state    which inputs and outputs are the state: ["past.*=present.*"] or ["h_in=h_out", "c_in=c_out"]
    scores   the output of scores, where the graph has others beside it
    data     a log of these items, whose histories the certificate is held on and whose counts new users are
             recommended by; without it histories are drawn at random
    longest  events of the certificate's longest histories

    The certificate compares the bundle's graphs, and the graph as it came, with float64 answers of the same operators;
    with float32 ones where no runtime has these in float64 (the manifest's training.reference says which). Raises
    ConfigError for a graph that is unfit, with the reason, DataError for items or a log that do not fit it, and
    ParityError, as `export_bundle` does.

    import_onnx("step.onnx", "items.csv", "bundles/mine", state=["past.*=present.*"])
    """
    out = Path(out)
    longest = parity.LONGEST if longest is None else check_longest(longest)
    check_target(out, force)
    graph = StepGraph.read(step, state, scores)
    catalogue = read_catalogue(items)
    session = StepSession(graph)
    parts = _within_limits(graph, parts_of(graph, session, catalogue.height))
    dataset = _dataset(graph, catalogue, data, progress)
    k = min(CERTIFIED_K, dataset.num_items)
    with writing(out, force) as folder:
        progress(0, 0, "writing the graphs")
        graphs = write_step_graphs(parts, graph.spec, graph.opset, folder)
        atomic_write(folder / WEIGHTS, _weights(parts))
        write_items(dataset.items, folder / ITEMS)
        reference = _reference(graph, parts)
        histories = choose_histories(dataset, edges(WINDOW), longest if reference.is_fast else LONG)
        progress(0, 0, f"answering {len(histories)} histories in {reference.precision}")
        deciding = {path.name: sha256_file(path) for path in folder.iterdir()}
        cases = reference_answers(reference, parts, graph.spec, histories, deciding, k, MAX_EXCLUDE)
        document = manifest_of(
            {"key": graph.path.stem, "config": {}, "num_items": dataset.num_items, "dim": parts.table.shape[1]},
            graph.spec,
            graphs,
            data=dataset.summary(),
            training={
                "imported": {"file": graph.path.name, "sha256": sha256_file(graph.path), "from": "onnx"},
                "reference": reference.precision,
            },
            opset=graph.opset,
        )
        progress(0, 0, f"comparing {graph.path.name} as it came")
        own = compare_source(session, parts, graph.spec, cases)
        comparisons = certify(folder, out, document, cases, own, progress)
    return ExportReport(Bundle.open(out), comparisons)


def _within_limits(graph: StepGraph, parts: Parts) -> Parts:
    """The parts with user vectors of a size that a certificate's limits are made for, tried on random items."""
    draw = np.random.default_rng(0)
    run, spec = _reference(graph, parts).run, graph.spec
    state, largest = spec.zeros(16), 0.0
    for _ in range(32):
        items = draw.integers(1, len(parts.table), 16)
        user, *present = run({"item_id": items, **{f"past.{name}": tensor for name, tensor in state.items()}})
        largest = max(largest, float(np.abs(user).max()))
        state = dict(zip(state, present, strict=True))
    return parts.scaled(largest)


def _reference(graph: StepGraph, parts: Parts) -> Float64Graph:
    trial = {"item_id": np.array([1, 1]), **{f"past.{name}": zeros for name, zeros in graph.spec.zeros(2).items()}}
    return Float64Graph(graph_of("advance", parts, graph.spec, graph.opset), trial)


def _weights(parts: Parts) -> bytes:
    return save({tensor.name: np.ascontiguousarray(numpy_helper.to_array(tensor)) for tensor in parts.weights})


def _dataset(graph: StepGraph, catalogue: pl.DataFrame, data: str | Path | None, progress: Progress) -> Dataset:
    """Histories to hold the certificate on, of item rows in the catalogue's order."""
    if data is None:
        draw = np.random.default_rng(0)
        lengths = np.linspace(1, 2 * WINDOW, 64).astype(int)
        events = draw.integers(1, catalogue.height + 1, lengths.sum())
        names = [f"random {number}" for number in range(len(lengths))]
        return Dataset(graph.path.stem, catalogue, names, np.cumsum([0, *lengths]), events)
    return load_dataset(str(data), progress=progress).renumbered(catalogue)
