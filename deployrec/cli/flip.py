"""`deployrec flip`: another bundle for every server of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployrec.cli.console import doing, say


def flip(
    bundles: Annotated[Path, typer.Argument(help="Folder of bundles, as `deployrec serve --bundles` follows it.")],
    name: Annotated[str, typer.Argument(help="Which of them is to be served.")],
    store: Annotated[
        str | None,
        typer.Option(help="Encode every user of this store under the bundle first: lmdb:PATH or redis://HOST."),
    ] = None,
) -> None:
    """Serve another bundle of a folder from now on, or go back to one; servers answer without a break.

    With --store nobody waits at the first request; without it a user is encoded then, from the kept history.

    examples:

      deployrec flip bundles recblr --store lmdb:users

      deployrec flip bundles glintru
    """
    from deployrec.bundle.bundle import Bundle
    from deployrec.bundle.current import flip as run

    path = bundles / name
    with doing(f"checking {path}"):
        bundle = Bundle.open(path)
    if store is not None:
        from deployrec.jobs.reencode import reencode

        with doing("reading histories") as progress:
            counts = reencode(path, store, progress=progress)
        say(f"{counts.users:,} users, {counts.encoded:,} of them encoded")
    run(bundles, name)
    say(f"{bundles}: {name} is served, id {bundle.manifest.bundle_id[:12]}")
