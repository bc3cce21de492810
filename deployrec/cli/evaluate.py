"""`deployrec evaluate`: the figures of a run, or of an exported bundle, on held-out items, beside the baselines."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployrec.cli.console import out as console
from deployrec.errors import ConfigError, RunError

if TYPE_CHECKING:
    from deployrec.bundle.manifest import Manifest
    from deployrec.training.evaluate import Report

SPLITS = ("test", "validation")
SAFE_STREAMING = 0.98
say = partial(console.print, soft_wrap=True)


def evaluate(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN|BUNDLE]", help="Run or bundle folder; default: the newest finished run."),
    ] = None,
    model: Annotated[str, typer.Option(help="Name or package.module:Class, where no folder is named.")] = "glintru",
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    data: Annotated[str | None, typer.Option(help="The event log it was trained on; a run knows its own.")] = None,
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Rank all items for every user's held-out item: HR, NDCG and MRR, masked and unmasked, windowed and streamed.

    A bundle is evaluated as it serves: each event of a history is one ONNX Runtime run of its step graph.

    examples:

      deployrec evaluate --model recblr

      deployrec evaluate runs/recblr/20250101-120000 --data ml-1m/ml-1m.inter --split validation

      deployrec evaluate bundles/recblr --data ml-1m/ml-1m.inter
    """
    from deployrec.bundle.manifest import MANIFEST
    from deployrec.training.device import device_of

    if split not in SPLITS:
        raise ConfigError(f"expected a split out of {', '.join(SPLITS)}; got '{split}'; choose one of them")
    place = device_of(device).type
    if path is not None and (path / MANIFEST).is_file():
        _evaluate_bundle(path, data, split, place)
    else:
        _evaluate_run(path, model, runs, data, split, place)


def _evaluate_run(path: Path | None, model: str, runs: Path, data: str | None, split: str, place: str) -> None:
    from deployrec.training.evaluate import evaluate as evaluate_model
    from deployrec.training.runs import DataSource, Run, newest_finished

    run = Run.load(path) if path else newest_finished(runs, model)
    if run is None:
        raise RunError(
            f"expected a finished run of {model} under {runs}; got none; run `deployrec train --model {model}` first"
        )
    trained = run.model().to(place)
    source = run.source if data is None else DataSource(data, run.source.options)
    dataset = source.load()
    run.check_data(dataset)
    say(f"evaluating {run.path} ({run.model_key}, {run.preset})")
    report = evaluate_model(trained, dataset, window=run.training.window, split=split)
    _print(report, source.is_sample)
    ratio = report.streaming()
    if ratio is not None:
        safe = "safe to stream" if ratio >= SAFE_STREAMING else "streaming costs accuracy: raise carried_state"
        say(
            f"streamed / windowed NDCG@10 for the {report.num_long:,} users beyond {report.window} events: "
            f"{ratio:.3f} ({safe})"
        )


def _evaluate_bundle(path: Path, data: str | None, split: str, place: str) -> None:
    from deployrec.bundle.bundle import Bundle
    from deployrec.export.scorer import BundleScorer
    from deployrec.training.evaluate import evaluate_scorers
    from deployrec.training.runs import DataSource, check_digest

    bundle = Bundle.open(path)
    manifest = bundle.manifest
    source = DataSource(data or "sample", {} if data is None else manifest.training.get("data_options", {}))
    dataset = source.load()
    check_digest(dataset, manifest.data["digest"], path)
    scorer = BundleScorer(bundle, device=place)
    say(f"evaluating {path} ({manifest.model['key']}) through ONNX Runtime")
    report = evaluate_scorers([scorer], dataset, window=manifest.encode_chunk, split=split)
    _print(report, source.is_sample)
    _compare_with_training(report, scorer.name, manifest)


def _print(report: Report, sample: bool) -> None:
    from deployrec.training.evaluate import ceiling

    console.print(report.table())
    if sample and report.split == "test":
        console.print(ceiling())


def _compare_with_training(report: Report, name: str, manifest: Manifest) -> None:
    """How far the bundle's figures are from those that torch reached after the training, as the manifest has them."""
    rows = manifest.training.get("metrics", {}).get(report.split, {}).get("rows", {})
    trained = rows.get("streamed") or rows.get("windowed")
    if trained is None:
        return
    largest = max(
        abs(value - trained[kind][metric])
        for kind, masked in (("masked", True), ("unmasked", False))
        for metric, value in report.row(name, masked).metrics.items()
    )
    hit, gain = trained["masked"]["hr@10"], trained["masked"]["ndcg@10"]
    say(
        f"torch, after training: masked HR@10 {hit:.4f}, NDCG@10 {gain:.4f}; "
        f"largest difference of any figure {largest:.1e}"
    )
