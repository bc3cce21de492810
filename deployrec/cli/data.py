"""`deployrec data`: fetch a public data set, or look at a log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

app = typer.Typer(help="Fetch a public data set, or look at a log.")


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="ml-100k or ml-1m")],
    out: Annotated[Path, typer.Option(help="Folder that receives the data set's own folder.")] = Path("data"),
) -> None:
    """Download a data set from its official source and check its digest.

    examples:

        deployrec data get ml-1m

        deployrec data get ml-100k --out /srv/logs
    """
    from deployrec.data.download import SOURCES, download

    console = Console()
    there = (out / name).exists()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        folder = download(name, out, lambda received, total: bar.update(task, completed=received, total=total))
    came = "already there" if there else "digest checked"
    console.print(f"{folder}: {came}; terms of use: {SOURCES[name].home}", soft_wrap=True, highlight=False)
    console.print(f"next: deployrec train --data {folder}", soft_wrap=True, highlight=False)


@app.command()
def info(
    source: Annotated[str, typer.Argument(help="sample, a log file, or a folder with one")],
    user: Annotated[str, typer.Option(help="Column of user ids.")] = "user_id",
    item: Annotated[str, typer.Option(help="Column of item ids.")] = "item_id",
    time: Annotated[str, typer.Option(help="Column of times; empty: the order of the file.")] = "timestamp",
    min_user: Annotated[int, typer.Option(help="Drop users of fewer events (k-core).")] = 1,
    min_item: Annotated[int, typer.Option(help="Drop items of fewer events (k-core).")] = 1,
) -> None:
    """Print the size of a log.

    examples:

        deployrec data info sample

        deployrec data info clicks.csv --user visitor --item sku --time at --min-item 5
    """
    from deployrec.data import load_dataset

    dataset = load_dataset(source, user=user, item=item, time=time or None, min_user=min_user, min_item=min_item)
    lengths = np.diff(dataset.offsets)
    most = dataset.items.row(0, named=True)
    table = Table(title=dataset.name, show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right", overflow="fold")
    for label, value in (
        ("users", f"{dataset.num_users:,}"),
        ("items", f"{dataset.num_items:,}"),
        ("events", f"{dataset.num_events:,}"),
        ("density", f"{dataset.num_events / (dataset.num_users * dataset.num_items):.2%}"),
        ("events per user", f"{lengths.min()} to {lengths.max():,}, median {np.median(lengths):g}"),
        ("most popular", f"{most['title']} ({most['popularity']:,} events)"),
        ("digest", dataset.digest),
    ):
        table.add_row(label, value)
    Console().print(table)
