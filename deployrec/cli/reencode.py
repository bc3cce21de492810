"""`deployrec reencode`: every user of a store under a new bundle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from deployrec.cli.console import doing, say


def reencode(
    bundle: Annotated[Path, typer.Argument(help="The new bundle's folder.")],
    store: Annotated[str, typer.Option(help="Where users' histories lie: lmdb:PATH or redis://HOST.")],
    data: Annotated[
        str | None, typer.Option(help="An event log: histories of users whom the store has none of.")
    ] = None,
    lists: Annotated[Path | None, typer.Option(help="Parquet file for each user's best items.")] = None,
    k: Annotated[int, typer.Option(help="Items of these lists.")] = 10,
    backend: Annotated[str, typer.Option(help="Which backend runs the graphs.")] = "onnxruntime",
    ray: Annotated[str | None, typer.Option(help="Address of a Ray cluster, or local for one on this machine.")] = None,
    now: Annotated[
        str | None, typer.Option(help="The moment that a time-aware bundle's lists are for; default: this one.")
    ] = None,
) -> None:
    """Encode every user's history under a bundle, while others serve; killed or broken off, run it again.

    Records of other bundles stay until `deployrec store drop` takes them out, so going back is one step too.

    examples:

      deployrec reencode bundles/recblr --store lmdb:users

      deployrec reencode bundles/recblr --store lmdb:users --data ml-1m --lists tonight.parquet --k 50

      deployrec reencode bundles/recblr --store redis://localhost:6379/0 --ray auto
    """
    from deployrec.jobs.reencode import reencode as run
    from deployrec.runtime.clock import of_text

    began = time.perf_counter()
    with doing("reading histories") as progress:
        moment = None if now is None else of_text(now)
        counts = run(bundle, store, data, lists, k, backend, ray, progress, moment)
    seconds = time.perf_counter() - began
    say(f"{counts.users:,} users, {counts.encoded:,} of them encoded, in {seconds:.1f} s")
    if lists is not None:
        say(f"{lists}: the {k} best items of each")
