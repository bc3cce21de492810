"""`deployrec evaluate`: the figures of a run, or of an exported bundle, on held-out items, beside the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployrec import discovery
from deployrec.cli import usage
from deployrec.cli.console import TRAINING, doing, say
from deployrec.cli.console import out as console
from deployrec.errors import RunError


def evaluate(
    ctx: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN|BUNDLE]", help="Run or bundle folder; default: the newest finished run."),
    ] = None,
    model: Annotated[str, typer.Option(help="Name or package.module:Class, where no folder is named.")] = "glintru",
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    data: Annotated[str | None, typer.Option(help="The event log it was trained on; a run knows its own.")] = None,
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    protocol: Annotated[
        str, typer.Option(help="leave-one-out; successive or holdout for what was trained with --set holdout=0.1.")
    ] = "leave-one-out",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Rank all items for every user's held-out item: HR, NDCG and MRR, masked and unmasked, windowed and streamed.

    Beside leave-one-out, what was trained before a moment (`deployrec train --set holdout=0.1`) can be asked for every
    later event in turn while the state moves on (successive), or for one list a user at the moment (holdout), with the
    popularity of the last 7 days as a floor, coverage, and figures by the age of the model.

    A bundle is evaluated as it serves: each event of a history is one ONNX Runtime run of its step graph.

    examples:

      deployrec evaluate --model recblr

      deployrec evaluate runs/recblr/20250101-120000 --data ml-1m/ml-1m.inter --split validation

      deployrec evaluate bundles/recblr --data ml-1m/ml-1m.inter

      deployrec evaluate bundles/recblr --data clicks.csv --protocol successive
    """
    usage.refuse_beside(ctx, "path", "model", "runs", why="a named folder is looked for nowhere else")
    if path is None:
        discovery.check("models", model)
    with doing(TRAINING):
        from deployrec.evaluation import explain, open_subject
        from deployrec.training.device import device_of
        from deployrec.training.evaluate import check_split
        from deployrec.training.runs import Run, newest_finished
        from deployrec.training.targets import check_protocol
    check_split(split)
    check_protocol(protocol)
    device_of(device)
    subject = open_subject(path) if path else newest_finished(runs, model, note=say)
    if subject is None:
        raise RunError(
            f"expected a finished run of {model} under {runs}; got none; run `deployrec train --model {model}` first"
        )
    if isinstance(subject, Run):
        say(f"evaluating {subject.path} ({subject.model_key}, {subject.preset})")
    else:
        say(f"evaluating {subject.path} ({subject.manifest.model['key']}) through ONNX Runtime")
    with doing("evaluating") as progress:
        report, notes = explain(subject, data, split=split, protocol=protocol, device=device, progress=progress)
    console.print(report.table())
    for note in notes:
        say(note)
