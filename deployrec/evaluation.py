"""`evaluate`: the figures of a run, an exported bundle or a model on held-out items, beside the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import MANIFEST, Manifest
from deployrec.data import Dataset, load_dataset
from deployrec.errors import ConfigError
from deployrec.export.scorer import BundleScorer
from deployrec.models import SequentialRecommender
from deployrec.progress import Progress, silent
from deployrec.training.device import device_of
from deployrec.training.evaluate import Report, check_split, evaluate_scorers
from deployrec.training.evaluate import evaluate as evaluate_model
from deployrec.training.protocols import evaluate_after
from deployrec.training.report import ProtocolReport
from deployrec.training.runs import DataSource, Run, check_digest
from deployrec.training.scorers import StreamedScorer, WindowedScorer, carries_state
from deployrec.training.targets import check_honest, check_protocol

Subject = Run | Bundle | SequentialRecommender


class Evaluation(NamedTuple):
    """The figures, and `notes`: what they mean, a line each."""

    report: Report | ProtocolReport
    notes: list[str]


def evaluate(
    subject: Subject | str | Path,
    data: Any = None,
    *,
    split: str = "test",
    protocol: str = "leave-one-out",
    device: str = "auto",
    window: int | None = None,
    progress: Progress = silent,
) -> Report | ProtocolReport:
    """Ranks all items for every user's held-out item: HR, NDCG and MRR, masked and unmasked.

    subject    a finished run, a bundle (each event of a history is then one run of its step graph, as it serves), the
               folder of either, or a model
    data       what the subject was trained on: a Dataset, a frame, or where its log lies; a run on a log finds its own
    split      "test" or "validation", of leave-one-out
    protocol   "leave-one-out"; or, for what was trained with a holdout, "successive" (every event after the moment in
               turn, the state moving on) or "holdout" (one list a user at the moment): a ProtocolReport
    window     events that a model reads at once; runs and bundles know theirs

    Raises RunError for other data than the subject was trained on, ConfigError for an option that does not fit.
    """
    return explain(
        subject, data, split=split, protocol=protocol, device=device, window=window, progress=progress
    ).report


def explain(
    subject: Subject | str | Path,
    data: Any = None,
    *,
    split: str = "test",
    protocol: str = "leave-one-out",
    device: str = "auto",
    window: int | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """`evaluate` with what its figures mean."""
    check_split(split)
    check_protocol(protocol)
    if protocol != "leave-one-out" and split != "test":
        raise ConfigError(f"expected split for leave-one-out alone; got {split} with {protocol}; leave it out")
    place = device_of(device)
    subject = open_subject(subject) if isinstance(subject, str | Path) else subject
    if not isinstance(data, str | Path | None):
        data = load_dataset(data)
    if isinstance(subject, SequentialRecommender):
        if not isinstance(data, Dataset) or window is None:
            raise ConfigError("expected a data set and a window for a model; got one of them or none; pass both")
        check_honest(protocol, 0.0, "a model alone")
        report = evaluate_model(subject.to(place), data, window=window, split=split, progress=progress)
        return Evaluation(report, report.notes())
    if window is not None:
        raise ConfigError(f"expected window for a model alone; got {window}; runs and bundles know theirs")
    progress(0, 0, "reading the data")
    if isinstance(subject, Run):
        model = subject.model()
        dataset = data if isinstance(data, Dataset) else subject.source_at(_text(data)).events().load(progress)
        subject.check_data(dataset)
        holdout, seen = subject.training.holdout, subject.training.exclude_seen
        check_honest(protocol, holdout, subject.path)
        if protocol != "leave-one-out":
            own = StreamedScorer if carries_state(model) else WindowedScorer
            scorer = own(model.to(place), subject.training.window)
            after = evaluate_after([scorer], dataset, protocol, holdout, exclude_seen=seen, progress=progress)
            return Evaluation(after, after.notes())
        report = evaluate_model(
            model.to(place),
            dataset,
            window=subject.training.window,
            split=split,
            exclude_seen=seen,
            progress=progress,
        )
        return Evaluation(report, report.notes(subject.is_sample))
    if not isinstance(subject, Bundle):
        raise ConfigError(
            f"expected a run, a bundle, the folder of either, or a model; got {type(subject).__name__}; pass one"
        )
    manifest = subject.manifest
    dataset = data if isinstance(data, Dataset) else _source(manifest, _text(data)).load(progress)
    if manifest.training.get("imported"):  # nobody knows what it was trained on; its graph numbers the items
        if data is None:
            raise ConfigError(f"expected a log of the items of {subject.path}; got none; pass one with --data")
        dataset = dataset.renumbered(pl.DataFrame({"item_id": subject.catalogue().item_ids[1:]}))
    else:
        check_digest(dataset, manifest.data["digest"], subject.path)
    holdout, seen = manifest.training.get("holdout", 0.0), manifest.exclude_seen
    check_honest(protocol, holdout, subject.path)
    bundle = BundleScorer(subject, device=place.type)
    if protocol != "leave-one-out":
        after = evaluate_after([bundle], dataset, protocol, holdout, exclude_seen=seen, progress=progress)
        return Evaluation(after, after.notes())
    report = evaluate_scorers(
        [bundle],
        dataset,
        window=manifest.encode_chunk,
        split=split,
        exclude_seen=seen,
        progress=progress,
    )
    sample = data is None
    return Evaluation(report, [*report.notes(sample), *_compared_with_training(report, bundle.name, manifest)])


def open_subject(path: str | Path) -> Run | Bundle:
    """The bundle or the run in a folder."""
    return Bundle.open(path) if (Path(path) / MANIFEST).is_file() else Run.load(path)


def _text(data: str | Path | Any | None) -> str | None:
    return None if data is None else str(data)


def _source(manifest: Manifest, place: str | None) -> DataSource:
    """A bundle knows how its log was read, but not where it lies."""
    if place is None:
        return DataSource("sample")
    return DataSource(place, manifest.training.get("data_options", {}))


def _compared_with_training(report: Report, name: str, manifest: Manifest) -> list[str]:
    """How far the bundle's figures are from those that torch reached after the training, as the manifest has them."""
    rows = manifest.training.get("metrics", {}).get(report.split, {}).get("rows", {})
    trained = rows.get("streamed") or rows.get("windowed")
    if trained is None:
        return []
    differences = [
        abs(value - trained[kind][metric])
        for kind, masked in (("masked", True), ("unmasked", False))
        for metric, value in report.row(name, masked).metrics.items()
    ]
    largest = float(np.max(differences))  # a NaN stays
    hit, gain = trained["masked"]["hr@10"], trained["masked"]["ndcg@10"]
    return [
        f"torch, after training: masked HR@10 {hit:.4f}, NDCG@10 {gain:.4f}; "
        f"largest difference of any figure {largest:.1e}"
    ]
