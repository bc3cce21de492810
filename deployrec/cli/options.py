"""The options that say how a log is read, the same for every verb that takes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployrec.cli.console import out as console

if TYPE_CHECKING:
    from deployrec.data import Dataset

LOG_HELP = "'sample', a log file, a folder with one or with Parquet parts, or a pattern such as 'logs/*.csv'."


def _log_options(
    user: Annotated[str, typer.Option(help="Column of user ids.")] = "user_id",
    item: Annotated[str, typer.Option(help="Column of item ids.")] = "item_id",
    time: Annotated[str, typer.Option(help="Column of times; '' takes the order of the file.")] = "timestamp",
    title: Annotated[str | None, typer.Option(help="Column of item titles; default: a usual name.")] = None,
    time_format: Annotated[
        str | None,
        typer.Option(help="How times are written: iso, unix, day-first, month-first, or like '%m/%d/%Y %H:%M'."),
    ] = None,
    sep: Annotated[
        str | None, typer.Option(help="What separates fields, such as ';' or '\\t'; default: what fits.")
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="CSV, TSV or Parquet file of items; its columns come with the items.")
    ] = None,
    on_bad_row: Annotated[
        str, typer.Option(help="error: refuse a log with bad rows. skip: leave them out and list them.")
    ] = "error",
    min_user: Annotated[int, typer.Option(help="Keep users with at least so many events (k-core).")] = 1,
    min_item: Annotated[int, typer.Option(help="Keep items with at least so many events (k-core).")] = 1,
    limit: Annotated[int | None, typer.Option(help="Only the first users of the log.")] = None,
) -> None:
    """The signature that `takes_log` adds to a verb."""


def takes_log(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb the options above; it is called with `options`, those that differ from their default.

    They are `load_dataset`'s keyword arguments, ready for a DataSource.
    """
    own, added = inspect.signature(verb, eval_str=True), inspect.signature(_log_options, eval_str=True)

    @wraps(verb)
    def with_options(**given: Any) -> None:
        values = {name: given.pop(name) for name in added.parameters}
        options = {name: value for name, value in values.items() if value != added.parameters[name].default}
        verb(**given, options={name: _plain(value) for name, value in options.items()})

    kept = [parameter for name, parameter in own.parameters.items() if name != "options"]
    with_options.__signature__ = own.replace(parameters=[*kept, *added.parameters.values()])  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in (*kept, *added.parameters.values())}
    return with_options


def print_notes(dataset: Dataset) -> None:
    """What reading a log had to say, a line each."""
    for note in dataset.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)


def _plain(value: Any) -> Any:
    """As a run records it: an empty name is none, a path a text."""
    return str(value) if isinstance(value, Path) else None if value == "" else value
