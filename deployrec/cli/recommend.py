"""`deployrec recommend`: what a bundle recommends after a history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from deployrec.cli.console import err
from deployrec.cli.console import out as console
from deployrec.errors import ConfigError, DataError


def recommend(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    history: Annotated[
        str | None, typer.Option(help="Item ids as in the log, oldest first, separated by commas.")
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(help="One item id, taken as it stands, commas and spaces too; repeat, oldest first."),
    ] = None,
    history_file: Annotated[
        Path | None, typer.Option(help="Text file with one item id per line, taken as it stands, oldest first.")
    ] = None,
    k: Annotated[
        int | None, typer.Option(help="How many items; default: 10, or all there are.", show_default=False)
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="Condition on columns of items.csv, such as \"genre has 'Comedy' and year >= 1990\"."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Item id that may come; repeat: and no other.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Item id that may not come; repeat.")] = None,
    include_seen: Annotated[
        bool | None,
        typer.Option(
            "--include-seen/--exclude-seen",
            help="Whether items of the history may come again; default: as the bundle says.",
            show_default=False,
        ),
    ] = None,
    on_unknown_item: Annotated[str, typer.Option(help="skip or error.")] = "skip",
    time: Annotated[
        str | None,
        typer.Option(
            help="When the last item was, for a time-aware bundle: ISO 8601, or a number in the unit of its log."
        ),
    ] = None,
    now: Annotated[
        str | None, typer.Option(help="The moment to recommend for, written alike; default: this one.")
    ] = None,
) -> None:
    """Print the next items after a history, with titles and scores; without one, the most popular items.

    examples:

      deployrec recommend bundles/glintru --history "1193,661,914"

      deployrec recommend bundles/glintru --item "Run, Lola, Run" --item Heat --k 20 --include-seen

      deployrec recommend bundles/glintru --history-file seen.txt

      deployrec recommend bundles/glintru --item 1193 --where "genre has 'Comedy' and release_year >= 1990"

      deployrec recommend bundles/recblr-time --item 1193 --time 2026-01-31T12:00 --now 2026-02-07T12:00
    """
    items = _items(history, item, history_file)
    from deployrec.runtime import Recommender
    from deployrec.runtime.clock import of_text

    recommender = Recommender.load(bundle, on_unknown_item=on_unknown_item)
    last, moment = (None if text is None else of_text(text) for text in (time, now))
    if last is not None and not items:
        raise ConfigError(f"expected a history beside --time; got none; name its items, or leave --time {time} out")
    applied = recommender.encode_history("you", items, [None] * (len(items) - 1) + [last] if items else None)
    if recommender.unknown_items:
        err.print(f"note: {recommender.unknown_items} of {len(items)} items are not in the catalogue; skipped")
    exclude_seen = None if include_seen is None else not include_seen
    found = recommender.recommend("you", k, exclude_seen, exclude=exclude, only=only or None, where=where, now=moment)
    catalogue = recommender.catalogue
    if recommender.manifest.time and applied and last is None:
        err.print("note: scored as if nobody knew how long ago the last item was; --time tells")
    if applied:
        known = [row for item_id in items if (row := catalogue.rows.get(item_id))]
        console.print("after " + ", ".join(escape(catalogue.titles[row]) for row in known[-5:]), soft_wrap=True)
    else:
        console.print(
            "no history: the most popular items, scored by the logarithm of their share of all events", soft_wrap=True
        )
    if not found:
        why = "the history holds the whole catalogue (see --include-seen)"
        if where or only or exclude:
            why = "the history holds all items that --where, --only and --exclude allow, or they allow none"
        console.print(f"nothing is left to recommend: {why}", soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", justify="right")
    table.add_column("item")
    table.add_column("title")
    table.add_column("score", justify="right")
    for place, entry in enumerate(found, 1):
        table.add_row(str(place), escape(entry.item_id), escape(entry.title), f"{entry.score:.3f}")
    console.print(table)


def _items(history: str | None, item: list[str] | None, history_file: Path | None) -> list[str]:
    """The item ids of whichever option names them."""
    given = [
        name
        for name, value in (("--history", history), ("--item", item), ("--history-file", history_file))
        if value is not None and value != []
    ]
    if len(given) > 1:
        raise ConfigError(f"expected the history by one option; got {' and '.join(given)}; leave all but one out")
    if history_file is not None:
        return lines(history_file)
    return list(item) if item else _listed(history or "")


def _listed(history: str) -> list[str]:
    return [item.strip() for item in history.split(",") if item.strip()]


def lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty."""
    try:
        # Only line feeds end a line: an id may hold what else Python takes for the end of one.
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise DataError(f"expected item ids in {path}; got {got}; name a text file with one id per line") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected UTF-8 text in {path}; got other bytes at {error.start:,}; save it as UTF-8"
        ) from None
    return [line for raw in lines if (line := raw.removesuffix("\r"))]
