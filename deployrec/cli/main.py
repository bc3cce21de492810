"""The root of the command line: its verbs, and how errors end."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer

import deployrec
from deployrec.cli import build, data
from deployrec.cli.bench import bench
from deployrec.cli.console import err, out
from deployrec.cli.demo import demo
from deployrec.cli.evaluate import evaluate
from deployrec.cli.export import export
from deployrec.cli.info import info
from deployrec.cli.recommend import recommend
from deployrec.cli.train import train
from deployrec.cli.verify import verify
from deployrec.errors import DeployrecError

app = typer.Typer(
    name="deployrec",
    help=deployrec.__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(data.app, name="data")
app.add_typer(build.app, name="build")
for verb in (train, evaluate, export, verify, info, recommend, bench, demo):
    app.command()(verb)


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if show:
        out.print(f"deployrec {deployrec.__version__}")
        raise typer.Exit


def main() -> None:
    """Runs the command line. A user's error is one line on stderr and exit code 2 (1 for a failed parity gate)."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except DeployrecError as error:
        err.print(f"deployrec: {error}", markup=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        err.print("deployrec: interrupted")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Ends through the interpreter, so that temporary folders are removed."""
    sys.exit(128 + signum)
