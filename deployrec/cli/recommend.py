"""`deployrec recommend`: what a bundle recommends after a history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deployrec.cli.console import err
from deployrec.cli.console import out as console


def recommend(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    history: Annotated[str, typer.Option(help="Item ids as in the log, oldest first, separated by commas.")] = "",
    k: Annotated[int, typer.Option(help="How many items.")] = 10,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Items of the history may come again.")] = False,
    on_unknown_item: Annotated[str, typer.Option(help="skip or error.")] = "skip",
) -> None:
    """Print the next items after a history, with titles and scores; without one, the most popular items.

    examples:

      deployrec recommend bundles/glintru --history "1193,661,914"

      deployrec recommend bundles/glintru --history "1193,661,914" --k 20 --include-seen
    """
    from deployrec.runtime import Recommender

    recommender = Recommender.load(bundle, on_unknown_item=on_unknown_item)
    items = [item.strip() for item in history.split(",") if item.strip()]
    applied = recommender.encode_history("you", items)
    if recommender.unknown_items:
        err.print(f"note: {recommender.unknown_items} of {len(items)} items are not in the catalogue; skipped")
    found = recommender.recommend("you", k=k, exclude_seen=not include_seen)
    catalogue = recommender.catalogue
    if applied:
        known = [row for item in items if (row := catalogue.rows.get(item))]
        console.print("after " + ", ".join(escape(catalogue.titles[row]) for row in known[-5:]))
    else:
        console.print("no history: the most popular items, scored by the logarithm of their share of all events")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", justify="right")
    table.add_column("item")
    table.add_column("title")
    table.add_column("score", justify="right")
    for place, entry in enumerate(found, 1):
        table.add_row(str(place), escape(entry.item_id), escape(entry.title), f"{entry.score:.3f}")
    console.print(table)
