"""`deployrec bench`: latencies of bundles on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from deployrec.cli.console import out as console


def bench(
    bundles: Annotated[list[Path], typer.Argument(help="Bundle folders.")],
    data: Annotated[
        str, typer.Option(help="Whose sessions are replayed: 'sample', a log file or a folder.")
    ] = "sample",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer places, ONNX Runtime and torch only.")] = False,
    rival: Annotated[list[str] | None, typer.Option(help="Also this model, with random weights; repeatable.")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="Only this backend; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes the sessions and the order of the turns.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the report here as JSON.")] = None,
) -> None:
    """Measure a step against re-encoding the history, over history lengths, batches, catalogues and threads.

    One axis varies at a time from one user with 200 events on one thread. Nothing else should run meanwhile.

    examples:

      deployrec bench bundles/recblr --quick

      deployrec bench bundles/recblr bundles/glintru --rival sasrec --data ml-1m --out latency.json
    """
    from deployrec.benchmark import BenchmarkConfig, run_benchmark
    from deployrec.benchmark.tables import tables
    from deployrec.data import load_dataset

    config = BenchmarkConfig.quick() if quick else BenchmarkConfig()
    config = replace(config, seed=seed, rivals=tuple(rival or ()), backends=tuple(backend or config.backends))
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("opening", total=None)
        report = run_benchmark(
            bundles,
            config,
            dataset=load_dataset(data),
            progress=lambda done, total, what: bar.update(task, completed=done, total=total, description=what),
        )
    console.print(tables(report))
    if out:
        report.save(out)
        console.print(f"wrote {out}")
