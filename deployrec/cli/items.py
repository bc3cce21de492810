"""`deployrec items`: new items without retraining, and items that are to come no more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployrec.cli.console import TRAINING, doing, leaving, say
from deployrec.cli.console import out as console
from deployrec.errors import ConfigError

if TYPE_CHECKING:
    from deployrec.bundle.bundle import Bundle
    from deployrec.export.tower import Fit

app = typer.Typer(help="Add items to a bundle without retraining, and retire items.", rich_markup_mode="rich")

Where = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")]
Out = Annotated[Path | None, typer.Option(help="Where the new bundle goes; default: in the place of BUNDLE.")]


@app.command()
def add(
    bundle: Where,
    items: Annotated[Path, typer.Argument(help="CSV, TSV or Parquet file: item_id, title, columns as in items.csv.")],
    out: Out = None,
) -> None:
    """Append items to the catalogue; the model stays, stored states stay valid, the certificate is renewed.

    An item's vector is its column `vector` (numbers between spaces), or the mean of its `neighbours` (ids between "|"),
    or made of its other columns by a regression on the vectors that were trained.

    examples:

      deployrec items add bundles/glintru new.csv

      deployrec items add bundles/glintru new.csv --out bundles/glintru-more
    """
    with doing(TRAINING):
        from deployrec.export.items import add_items
    with leaving(f"nothing was written to {out or bundle}"), doing(f"adding {items}") as progress:
        added = add_items(bundle, items, out, progress)
    ways = {"given": added.given, "mean of neighbours": added.by_neighbours, "made of columns": added.by_tower}
    say(f"{sum(ways.values()):,} items added: " + ", ".join(f"{way} {count:,}" for way, count in ways.items() if count))
    if added.fit:
        print_fit(added.fit)
    _print_bundle(added.report.bundle, len(added.report.comparisons))


@app.command()
def retire(
    bundle: Where,
    item: Annotated[list[str] | None, typer.Option(help="Item id, taken as it stands; repeat.")] = None,
    items_file: Annotated[
        Path | None, typer.Option(help="Text file with one item id per line, taken as it stands.")
    ] = None,
    out: Out = None,
) -> None:
    """Let items be recommended no more; they stay readable as history, and stored states stay valid.

    examples:

      deployrec items retire bundles/glintru --item 1062 --item 1186

      deployrec items retire bundles/glintru --items-file gone.txt
    """
    from deployrec.cli.recommend import lines

    if (item is None) == (items_file is None):
        raise ConfigError("expected --item or --items-file; got both or neither; name the items to retire by one")
    ids = lines(items_file) if items_file else list(item or [])
    with doing(TRAINING):
        from deployrec.export.items import retire_items
    with leaving(f"nothing was written to {out or bundle}"), doing(f"retiring {len(ids):,} items") as progress:
        report = retire_items(bundle, ids, out, progress)
    say(f"{len(ids):,} items retired")
    _print_bundle(report.bundle, len(report.comparisons))


def print_fit(fit: Fit) -> None:
    """What vectors made of columns are worth."""
    console.print(
        f"Vectors made of columns: recall@10 of an item's nearest {fit.recall:.3f} on {fit.held_out:,} held-out items "
        f"(random items {fit.random:.3f}); fitted on {fit.fitted:,}.",
        soft_wrap=True,
    )


def _print_bundle(bundle: Bundle, comparisons: int) -> None:
    manifest = bundle.manifest
    console.print(
        f"{bundle.path}: {manifest.num_items:,} items, states {manifest.state_id[:12]} as before. "
        f"[green]Parity holds[/]: {comparisons} comparisons.",
        soft_wrap=True,
    )
