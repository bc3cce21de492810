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
    """Print whose states lie in a store, by the state_id of their bundles, with the number of users and bytes.

    examples:

      deployrec store info lmdb:users

      deployrec store info redis://localhost:6379/0
    """
    database = open_database(url)
    with doing(f"reading {database.address}"):
        rows = [(layout, *database.size(layout.state_id)) for layout in database.layouts()]
        histories = database.num_histories()
        size = database.num_bytes()
    say(f"{database.address}: {size:,} bytes, histories of {histories:,} users")
    table = Table(box=None, pad_edge=False)
    for column in ("state_id", "users", "bytes of records", "a user"):
        table.add_column(column, justify="left" if column == "state_id" else "right")
    for layout, users, count in sorted(rows, key=lambda row: -row[1]):
        table.add_row(layout.state_id[:16], f"{users:,}", f"{count:,}", f"{count / max(1, users):,.0f}")
    if rows:
        console.print(table)


@app.command("export")
def export_(
    url: Url,
    folder: Annotated[Path, typer.Argument(help="New folder for the Parquet files.")],
    states: Annotated[str | None, typer.Option(help="Only records of this state_id, by its beginning.")] = None,
) -> None:
    """Write a store's records and histories as Parquet: a file for each state_id, one for the histories.

    examples:

      deployrec store export lmdb:users users-parquet
    """
    from deployrec.jobs.transfer import export_store

    database = open_database(url)
    chosen = None if states is None else named(database, states)
    with doing(f"writing {folder}") as progress:
        counts = export_store(database, folder, chosen, progress)
    say(f"{folder}: {counts.records:,} records, {counts.histories:,} histories")


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
    say(f"{database.address}: {counts.records:,} records, {counts.histories:,} histories")


@app.command()
def forget(url: Url, users: Annotated[list[str], typer.Argument(help="Users' ids.")]) -> None:
    """Erase users: their records of every bundle and their histories.

    examples:

      deployrec store forget lmdb:users alice bob
    """
    found = open_database(url).forget(users)
    say(f"forgotten: {sum(found):,} of {len(users):,} users")
    if missing := [user for user, there in zip(users, found, strict=True) if not there]:
        raise DataError(f"expected users of the store; got '{missing[0]}', of whom nothing is kept; check the id")


@app.command()
def drop(url: Url, states: Annotated[str, typer.Argument(help="The state_id, or its beginning.")]) -> None:
    """Drop all records of one state_id; histories and other records stay.

    examples:

      deployrec store drop lmdb:users 3f9a2c
    """
    database = open_database(url)
    state_id = named(database, states)
    with doing(f"dropping {state_id[:16]}"):
        count = database.drop(state_id)
    say(f"dropped: {count:,} records of states {state_id[:16]}")


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


def named(database: Database, states: str) -> str:
    """The whole state_id of the store that begins so; raises ConfigError unless there is one."""
    known = [layout.state_id for layout in database.layouts()]
    found = [state_id for state_id in known if state_id.startswith(states)] if states else []
    if len(found) != 1:
        there = ", ".join(state_id[:16] for state_id in known) or "none"
        got = f"{len(found)} that begin with '{states}'" if found else f"'{states}'"
        raise ConfigError(f"expected one state_id of the store ({there}); got {got}; name it by its beginning")
    return found[0]
