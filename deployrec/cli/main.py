"""The root of the command line: its verbs, and how errors end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

import deployrec
from deployrec.cli import build, data, importing, items, store, usage
from deployrec.cli.bench import bench
from deployrec.cli.console import err, open_ended_pipes, out
from deployrec.cli.consume import consume
from deployrec.cli.demo import demo
from deployrec.cli.evaluate import evaluate
from deployrec.cli.export import export
from deployrec.cli.flip import flip
from deployrec.cli.info import info
from deployrec.cli.models import models
from deployrec.cli.recommend import recommend
from deployrec.cli.reencode import reencode
from deployrec.cli.serve import serve
from deployrec.cli.sign import sign
from deployrec.cli.train import train
from deployrec.cli.verify import verify
from deployrec.errors import DeployrecError
from deployrec.extras import missing_extra
from deployrec.files import first_line
from deployrec.text import printable


class _InterruptedError(Exception):
    """Ctrl-C, past the parser, which would take a KeyboardInterrupt for its own; the text says what is left."""


class _Root(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise _InterruptedError(str(interrupt) or "nothing was written") from None


app = typer.Typer(
    name="deployrec",
    cls=_Root,
    help=deployrec.__doc__,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(data.app, name="data")
app.add_typer(importing.app, name="import")
app.add_typer(build.app, name="build")
app.add_typer(store.app, name="store")
app.add_typer(items.app, name="items")
for verb in (
    train,
    evaluate,
    export,
    verify,
    sign,
    info,
    recommend,
    serve,
    consume,
    flip,
    reencode,
    models,
    bench,
    demo,
):
    app.command()(verb)


@app.callback(invoke_without_command=True)
def version(
    ctx: typer.Context, show: bool = typer.Option(False, "--version", help="Print the version and stop.")
) -> None:
    if show:
        out.print(f"deployrec {deployrec.__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        out.print(ctx.get_help(), markup=False)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code.

    A user's error is one line on stderr and 2 (1 for a failed parity gate), Ctrl-C one that says what is left and 130.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    with open_ended_pipes():
        try:
            usage.refuse_repeats(typer.main.get_command(app), arguments)
            return int(app(arguments, prog_name="deployrec", standalone_mode=False) or 0)
        except DeployrecError as error:
            return _stop(str(error), error.exit_code)
        except (_InterruptedError, KeyboardInterrupt) as interrupt:
            return _stop(f"interrupted; {str(interrupt) or 'nothing was written'}", 130)
        except ModuleNotFoundError as error:
            missing = missing_extra(error)
            if missing is None:
                raise
            return _stop(str(missing), missing.exit_code)
        except OSError as error:
            if error.filename is None:
                raise
            reason = error.strerror or first_line(error)
            return _stop(f"expected to use {error.filename}; got '{reason}'; check the path and its permissions", 2)
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            return _stop(usage.describe(error, arguments), 2)


def _stop(text: str, code: int) -> int:
    err.print(printable(f"deployrec: {text}"), markup=False)
    return code


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Ends through the interpreter, so that temporary folders are removed."""
    sys.exit(128 + signum)
