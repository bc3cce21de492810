"""`deployrec store`: what a store holds, moving it, and taking out of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from deployrec.cli.console import doing, say
from deployrec.cli.console import out as console
from deployrec.errors import ConfigError, DataError
from deployrec.runtime.durable import DAY, Database, open_database

app = typer.Typer(help="Look into a store of users' states, move it, and take out of it.", rich_markup_mode="rich")

Url = Annotated[str, typer.Argument(help="The store: lmdb:PATH, redis://HOST, or a folder's path.")]


@app.command()
def info(url: Url) -> None:
    """Print the bundles whose users' records lie in a store, with their number and bytes.

    examples:

      deployrec store info lmdb:users

      deployrec store info redis://localhost:6379/0
    """
    database = open_database(url)
    with doing(f"reading {database.address}"):
        rows = [(layout, *database.size(layout.bundle_id)) for layout in database.layouts()]
        histories = database.num_histories()
        size = database.num_bytes()
    say(f"{database.address}: {size:,} bytes, {len(rows)} bundles, histories of {histories:,} users")
    table = Table(box=None, pad_edge=False)
    for column in ("bundle", "users", "bytes of records", "a user"):
        table.add_column(column, justify="left" if column == "bundle" else "right")
    for layout, users, count in sorted(rows, key=lambda row: -row[1]):
        table.add_row(layout.bundle_id[:16], f"{users:,}", f"{count:,}", f"{count / max(1, users):,.0f}")
    if rows:
        console.print(table)


@app.command("export")
def export_(
    url: Url,
    folder: Annotated[Path, typer.Argument(help="New folder for the Parquet files.")],
    bundle: Annotated[str | None, typer.Option(help="Only this bundle's records, by the beginning of its id.")] = None,
) -> None:
    """Write a store's records and histories as Parquet: a file for each bundle, one for the histories.

    examples:

      deployrec store export lmdb:users users-parquet
    """
    from deployrec.jobs.transfer import export_store

    database = open_database(url)
    chosen = None if bundle is None else named(database, bundle)
    with doing(f"writing {folder}") as progress:
        counts = export_store(database, folder, chosen, progress)
    say(f"{folder}: {counts.records:,} records of {counts.bundles} bundles, {counts.histories:,} histories")


@app.command("import")
def import_(
    url: Annotated[str, typer.Argument(help="The store: lmdb:PATH, redis://HOST, or a folder's path; made if new.")],
    folder: Annotated[Path, typer.Argument(help="Folder that `store export` wrote.")],
    replace: Annotated[bool, typer.Option(help="Replace records and histories that differ.")] = False,
) -> None:
    """Read what `store export` wrote into a store, bit for bit; users that are there already stay beside them.

    examples:

      deployrec store import redis://localhost:6379/0 users-parquet
    """
    from deployrec.jobs.transfer import import_store

    database = open_database(url, create=True)
    with doing(f"reading {folder}") as progress:
        counts = import_store(database, folder, replace, progress)
    say(f"{database.address}: {counts.records:,} records of {counts.bundles} bundles, {counts.histories:,} histories")


@app.command()
def forget(url: Url, users: Annotated[list[str], typer.Argument(help="Users' ids.")]) -> None:
    """Erase users: their records under every bundle and their histories.

    examples:

      deployrec store forget lmdb:users alice bob
    """
    found = open_database(url).forget(users)
    say(f"forgotten: {sum(found):,} of {len(users):,} users")
    if missing := [user for user, there in zip(users, found, strict=True) if not there]:
        raise DataError(f"expected users of the store; got '{missing[0]}', of whom nothing is kept; check the id")


@app.command()
def drop(url: Url, bundle: Annotated[str, typer.Argument(help="The bundle's id, or its beginning.")]) -> None:
    """Drop all records of one bundle; histories and other bundles' records stay.

    examples:

      deployrec store drop lmdb:users 3f9a2c
    """
    database = open_database(url)
    bundle_id = named(database, bundle)
    with doing(f"dropping {bundle_id[:16]}"):
        count = database.drop(bundle_id)
    say(f"dropped: {count:,} records of bundle {bundle_id[:16]}")


@app.command()
def expire(
    url: Url,
    older_than_days: Annotated[float, typer.Option(help="Days since the last write after which users go.")],
) -> None:
    """Drop the records and histories that nothing was written to for so many days.

    examples:

      deployrec store expire lmdb:users --older-than-days 90
    """
    if not older_than_days > 0:
        raise ConfigError(f"expected --older-than-days above 0; got {older_than_days:g}; give a number of days")
    database = open_database(url)
    with doing("looking for old records"):
        records, histories = database.expire(time.time() - older_than_days * DAY)
    say(f"expired: {records:,} records, {histories:,} histories")


def named(database: Database, bundle: str) -> str:
    """The whole id of the one bundle in the store whose id begins so; raises ConfigError."""
    known = [layout.bundle_id for layout in database.layouts()]
    found = [bundle_id for bundle_id in known if bundle_id.startswith(bundle)] if bundle else []
    if len(found) != 1:
        there = ", ".join(bundle_id[:16] for bundle_id in known) or "no bundles"
        got = f"{len(found)} bundles that begin with '{bundle}'" if found else f"'{bundle}'"
        raise ConfigError(f"expected one bundle of the store ({there}); got {got}; name it by its id")
    return found[0]
