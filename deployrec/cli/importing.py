"""`deployrec import`: a model that was trained elsewhere becomes a run or a bundle."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from deployrec.cli.console import TRAINING, doing, say

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
    """Make a finished run of a RecBole 1.2 checkpoint: GRU4Rec, SASRec, or the published RecBLR.

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
