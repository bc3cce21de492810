"""`deployrec train`: trains a model into a run folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from deployrec import discovery
from deployrec.cli import usage
from deployrec.cli.console import TRAINING, doing, say
from deployrec.cli.console import out as console
from deployrec.cli.options import LOG_HELP, takes_log


@takes_log
def train(
    ctx: typer.Context,
    model: Annotated[str, typer.Option(help="Name, such as glintru, or package.module:Class.")] = "glintru",
    data: Annotated[str, typer.Option(help=LOG_HELP)] = "sample",
    preset: Annotated[
        str, typer.Option(help="quick: minutes, for a first look. full: the recipe for best figures.")
    ] = "quick",
    seed: Annotated[int | None, typer.Option(help="Fixes weights, windows and dropout; default: 1.")] = None,
    out: Annotated[Path, typer.Option(help="Runs go to OUT/MODEL/TIME.")] = Path("runs"),
    resume: Annotated[Path | None, typer.Option(help="Go on with this interrupted run, by its own options.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="key=value of the model or the recipe; repeatable. `deployrec models MODEL` lists the keys."
        ),
    ] = None,
    *,
    options: dict[str, Any],
) -> None:
    """Train a recommender on an event log.

    examples:

      deployrec train --model glintru

      deployrec train --model recblr --data ml-1m/ml-1m.inter --preset full --set dropout=0.3

      deployrec train --resume runs/recblr/20250101-120000
    """
    if resume is not None:
        usage.refuse_beside(ctx, "resume", why="a run that goes on keeps its own options")
        with doing(TRAINING):
            from deployrec.training.train import resume as go_on
        run = go_on(resume, console)
    else:
        discovery.check("models", model)
        with doing(TRAINING):
            from deployrec.training import train as training
            from deployrec.training.runs import DataSource
        training.check_request(model, preset, seed, settings or (), out)
        source = DataSource(data, options)
        run = training.train(
            model, source, preset=preset, seed=seed, settings=settings or (), root=out, console=console
        )
    say(f"next: deployrec export --model {run.model_spec} --run {shlex.quote(str(run.path))}")
