"""`deployrec train`: trains a model into a run folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from deployrec.cli.console import out as console


def train(
    model: Annotated[str, typer.Option(help="Name, such as glintru, or package.module:Class.")] = "glintru",
    data: Annotated[str, typer.Option(help="'sample', a log file, or a folder with one.")] = "sample",
    preset: Annotated[
        str, typer.Option(help="quick: minutes, for a first look. full: the recipe for best figures.")
    ] = "quick",
    seed: Annotated[int, typer.Option(help="Fixes weights, windows and dropout.")] = 1,
    out: Annotated[Path, typer.Option(help="Runs go to OUT/MODEL/TIME.")] = Path("runs"),
    resume: Annotated[
        Path | None, typer.Option(help="Go on with this interrupted run; all other options are its own.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the model or the recipe; repeatable.")
    ] = None,
    user: Annotated[str, typer.Option(help="User column of the log.")] = "user_id",
    item: Annotated[str, typer.Option(help="Item column.")] = "item_id",
    time: Annotated[str, typer.Option(help="Time column; '' takes the order of the file.")] = "timestamp",
    min_user: Annotated[int, typer.Option(help="Keep users with at least so many events (k-core).")] = 1,
    min_item: Annotated[int, typer.Option(help="Keep items with at least so many events (k-core).")] = 1,
    limit: Annotated[int | None, typer.Option(help="Only the first users of the log.")] = None,
) -> None:
    """Train a recommender on an event log.

    examples:

      deployrec train --model glintru

      deployrec train --model recblr --data ml-1m/ml-1m.inter --preset full --set dropout=0.3

      deployrec train --resume runs/recblr/20250101-120000
    """
    from deployrec.training import train as training
    from deployrec.training.progress import clock
    from deployrec.training.runs import DataSource, newest_unfinished

    say = partial(console.print, soft_wrap=True)
    if resume is not None:
        run, dataset = training.reopen(resume)
        say(f"resuming {run.path} ({run.model_key} on {dataset.name})")
    else:
        options = {
            "user": user,
            "item": item,
            "time": time or None,
            "min_user": min_user,
            "min_item": min_item,
            "limit": limit,
        }
        source = DataSource(data, options)
        run, dataset = training.start(model, source, preset=preset, seed=seed, settings=settings or (), root=out)
        earlier = newest_unfinished(out, model, dataset, before=run)
        if earlier is not None:
            say(f"note: {earlier.path} was interrupted; to finish it: deployrec train --resume {earlier.path}")
        say(
            f"training {model} ({preset}) on {dataset.name}: {dataset.num_users:,} users, {dataset.num_items:,} items, "
            f"{dataset.num_events:,} events"
        )
    try:
        finished = training.fit(run, dataset, console)
    except KeyboardInterrupt:
        say(f"interrupted; to go on: deployrec train --resume {run.path}")
        raise typer.Exit(130) from None
    seconds = finished.record["seconds"]
    say(f"run {finished.path}  ({clock(seconds)}, best epoch {finished.record['best_epoch']})")
    say(f"next: deployrec export --model {finished.model_spec} --run {finished.path}")
