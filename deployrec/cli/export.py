"""`deployrec export`: the newest finished run of a model, or a quick one on the sample, becomes a verified bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from deployrec.cli.console import out as console

EXAMPLES = """examples:

  deployrec export --model glintru

  deployrec export --model recblr --run runs/recblr/20260101-120000 --out bundles/films --top-k 50
"""


def export(
    model: Annotated[str, typer.Option(help="Which recommender.")],
    out: Annotated[Path | None, typer.Option(help="Bundle folder to write; default: bundles/MODEL.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder to export; default: the newest finished one.")] = None,
    data: Annotated[str | None, typer.Option(help="The run's event log, if it has moved since the training.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    top_k: Annotated[int, typer.Option(help="Most items that one request can get.")] = 100,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is already there.")] = False,
) -> None:
    """Export a trained model as a bundle whose graphs provably agree with the training code."""
    from deployrec.export.bundle import check_target, export_bundle
    from deployrec.models import model_class
    from deployrec.training.runs import DataSource, Run, newest_finished
    from deployrec.training.train import train

    model_class(model)
    out = out or Path("bundles") / model
    check_target(out, force)
    chosen = Run.load(run) if run else newest_finished(runs, model)
    if chosen is None:
        console.print(f"No finished run of {model} under {runs}: training the quick preset on the built-in sample first.")
        chosen = train(model, DataSource("sample"), root=runs, console=console)
    console.print(f"Exporting {chosen.path}")
