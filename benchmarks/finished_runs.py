"""The command line of the scripts that tabulate figures of finished runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import RESULTS, clear_errors, machine, markdown, write_results
from deployrec.training.runs import Run

Row = dict[str, Any]


def tabulate(
    name: str, description: str | None, header: list[str], row: Callable[[Run], Row], line: Callable[[Row], list[str]]
) -> None:
    """Computes `row` of every run named on the command line, writes NAME.json and prints a `line` for each."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    arguments = parser.parse_args()
    with clear_errors(parser):
        rows = [row(Run.load(path)) for path in arguments.runs]
    write_results(name, {"machine": machine("cpu"), "rows": rows}, arguments.out)
    print(markdown(header, [line(row) for row in rows]))
