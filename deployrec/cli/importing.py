"""`deployrec import`: a model that was trained elsewhere becomes a run or a bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from deployrec.cli.console import TRAINING, doing, leaving, say
from deployrec.cli.export import print_report

app = typer.Typer(help="Bring in a model that was trained elsewhere.", rich_markup_mode="rich")


@app.command()
def recbole(
    checkpoint: Annotated[Path, typer.Argument(help="The .pth file that RecBole's trainer saved.")],
    data: Annotated[Path, typer.Option(help="The .inter file of the training; the checkpoint holds no item ids.")],
    items: Annotated[
        Path | None, typer.Option(help="A file of items for their titles; default: X.item beside X.inter.")
    ] = None,
    whole_histories: Annotated[
        bool,
        typer.Option("--whole-histories", help="Carry all of a user's events, not RecBole's newest; scores change."),
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder that receives the run.")] = Path("runs"),
) -> None:
    """Make a finished run of a RecBole 1.2 checkpoint: GRU4Rec, SASRec, BERT4Rec, NARM, or the published RecBLR.

    examples:

      deployrec import recbole saved/GRU4Rec-Jun-01-2026.pth --data dataset/ml-100k/ml-100k.inter
    """
    with doing(TRAINING):
        from deployrec.importing.recbole import import_recbole
    with doing(f"reading {data}") as progress:
        run, dataset = import_recbole(
            checkpoint, data, items=items, whole_histories=whole_histories, root=out, progress=progress
        )
    for note in dataset.notes:
        say(f"note: {note}")
    say(
        f"run {run.path}: {run.model_key} on {dataset.name}, {dataset.num_users:,} users, {dataset.num_items:,} items, "
        f"{dataset.num_events:,} events, as RecBole kept them"
    )
    model = run.model()
    if window := model.state_spec.exact_up_to:
        say(f"It answers from a user's newest {window:,} events, as RecBole's does.")
    say(f"next: deployrec export --run {shlex.quote(str(run.path))}")


@app.command()
def onnx(
    step: Annotated[Path, typer.Argument(help="The ONNX graph of one step: item and state in, scores and state out.")],
    items: Annotated[Path, typer.Option(help="A file of items in the graph's order, with a column item_id.")],
    state: Annotated[
        list[str], typer.Option(help="Inputs and the outputs that follow them: 'past.*=present.*'; repeat for more.")
    ],
    scores: Annotated[
        str | None, typer.Option(help="The output of scores, where there are others beside the state.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A log of these items, for the certificate's histories and for new users.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Bundle folder to write; default: bundles/STEP.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is already there.")] = False,
) -> None:
    """Make a bundle with a certificate of a recurrent step graph from any framework.

    examples:

      deployrec import onnx step.onnx --state 'past.*=present.*' --items items.csv

      deployrec import onnx lstm.onnx --state h_in=h_out --state c_in=c_out --items items.csv --data clicks.csv
    """
    with doing("loading onnx"):
        from deployrec.importing.onnx import import_onnx
    out = out or Path("bundles") / step.stem
    with leaving(f"nothing was written to {out}"), doing(f"reading {step}") as progress:
        report = import_onnx(step, items, out, state=state, scores=scores, data=data, force=force, progress=progress)
    manifest = report.bundle.manifest
    if manifest.training["reference"] != "float64":
        say("note: the graph's operators do not run in float64: the certificate compares it with itself in float32")
    if data is None:
        say("note: without --data the certificate's histories are random, and new users are recommended nothing")
    with leaving(f"{out} is written"):
        print_report(report)
