"""`deployrec data`: fetch a public data set, or look at a log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from deployrec.cli.console import out as console
from deployrec.cli.options import LOG_HELP, print_notes, takes_log
from deployrec.progress import working

if TYPE_CHECKING:
    from deployrec.data import Dataset

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

    there = (out / name).exists()
    with working(console, f"fetching {name}") as progress:
        folder = download(name, out, lambda received, total: progress(received, total or 0, f"fetching {name}, bytes"))
    came = "already there" if there else "digest checked"
    console.print(f"{folder}: {came}; terms of use: {SOURCES[name].home}", soft_wrap=True, highlight=False)
    console.print(f"next: deployrec train --data {folder}", soft_wrap=True, highlight=False)


@app.command()
@takes_log
def info(
    source: Annotated[str, typer.Argument(help=LOG_HELP)],
    options: dict[str, Any],
) -> None:
    """Print the size of a log.

    examples:

        deployrec data info sample

        deployrec data info clicks.csv --user visitor --item sku --time at --min-item 5

        deployrec data info 'parts/*.parquet' --items products.csv --on-bad-row skip
    """
    from deployrec.data import load_dataset

    with working(console, f"reading {source}") as progress:
        dataset = load_dataset(source, **options, progress=progress)
    lengths = np.diff(dataset.offsets)
    most = dataset.items.row(0, named=True)
    table = Table(title=escape(dataset.name), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right", overflow="fold")
    rows = [
        ("users", f"{dataset.num_users:,}"),
        ("items", f"{dataset.num_items:,}"),
        ("events", f"{dataset.num_events:,}"),
        ("density", f"{dataset.num_events / (dataset.num_users * dataset.num_items):.2%}"),
        ("events per user", f"{lengths.min()} to {lengths.max():,}, median {np.median(lengths):g}"),
        ("most popular", f"{most['title']} ({most['popularity']:,} events)"),
        ("times", _times(dataset)),
        ("repeats", f"{dataset.repeat_share:.1%} of the events"),
        ("item columns", ", ".join(dataset.items.columns[3:])),
        ("digest", dataset.digest),
    ]
    for label, value in rows:
        if value:
            table.add_row(label, escape(value))
    console.print(table)
    print_notes(dataset)
    if dataset.repeats:
        said = "note: users come back to items: training, evaluation and serving keep seen items as candidates"
        console.print(said, soft_wrap=True)


def _times(dataset: Dataset) -> str:
    """From when to when, how fine, how many fall on another's, and how many stood out of order."""
    from deployrec.data.units import resolution, when
    from deployrec.time_units import NAMES

    if dataset.times is None:
        return "none: the order of the file"
    same = np.delete(np.diff(dataset.times) == 0, dataset.offsets[1:-1] - 1)
    facts = [
        f"{same.sum() / max(1, len(same)):.1%} tied with the user's previous event",
        f"{dataset.unsorted:,} unsorted",
    ]
    if not dataset.time_unit:
        return "; ".join(["numbers of no known unit, an order and no more", *facts])
    first, last = (when(int(at), dataset.time_unit) for at in (dataset.times.min(), dataset.times.max()))
    return "; ".join(
        [
            f"{first} to {last}",
            f"{NAMES[dataset.time_unit]}, to the {resolution(dataset.times, dataset.time_unit)}",
            *facts,
        ]
    )
