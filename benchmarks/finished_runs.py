"""The command line of the scripts that tabulate figures of finished runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import UNTRACKED, add_out, clear_errors, machine, markdown, write_results
from deployrec.training.runs import Run

Row = dict[str, Any]


def tabulate(
    name: str, description: str | None, header: list[str], row: Callable[[Run], Row], line: Callable[[Row], list[str]]
) -> None:
    """Computes `row` of every run named on the command line, writes NAME.json and prints a `line` for each."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    add_out(parser)
    arguments = parser.parse_args()
    with clear_errors(parser):
        rows = [row(Run.load(path)) for path in arguments.runs]
    path = write_results(name, {"machine": machine("cpu"), "rows": rows}, arguments.out or UNTRACKED)
    print(f"{markdown(header, [line(row) for row in rows])}\n{path}")
