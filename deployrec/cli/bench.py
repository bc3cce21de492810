"""`deployrec bench`: latencies of bundles on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from deployrec import discovery
from deployrec.cli.console import doing, leaving, say
from deployrec.cli.console import out as console
from deployrec.cli.options import LOG_HELP, takes_log
from deployrec.files import check_writable_file


@takes_log
def bench(
    bundles: Annotated[list[Path], typer.Argument(help="Bundle folders.")],
    data: Annotated[str, typer.Option(help=f"Whose sessions are replayed: {LOG_HELP}")] = "sample",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer places, ONNX Runtime and torch only.")] = False,
    rival: Annotated[list[str] | None, typer.Option(help="Also this model, with random weights; repeatable.")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="Only this backend; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes the sessions and the order of the turns.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the report here as JSON.")] = None,
    *,
    options: dict[str, Any],
) -> None:
    """Measure a step against re-encoding the history, over history lengths, batches, catalogues and threads.

    One axis varies at a time from one user with 200 events on one thread. Nothing else should run meanwhile.

    examples:

      deployrec bench bundles/recblr --quick

      deployrec bench bundles/recblr bundles/glintru --rival sasrec --data ml-1m --out latency.json
    """
    if out is not None:
        check_writable_file(out, "--out")
    for key in rival or ():
        discovery.check("models", key)
    with doing("loading torch and ONNX Runtime"):
        from deployrec.benchmark import BenchmarkConfig, run_benchmark
        from deployrec.benchmark.tables import tables
        from deployrec.data import load_dataset

    config = BenchmarkConfig.quick() if quick else BenchmarkConfig()
    config = replace(config, seed=seed, rivals=tuple(rival or ()), backends=tuple(backend or config.backends))
    with doing("reading the data") as progress, leaving("no report was written"):
        dataset = load_dataset(data, **options, progress=progress)
        progress(0, 0, "opening the bundles")
        report = run_benchmark(bundles, config, dataset=dataset, progress=progress)
    console.print(tables(report))
    if out:
        report.save(out)
        say(f"wrote {out}")
