"""How long one recommendation takes, ours and the rivals', at MovieLens-1M sizes.

    python benchmarks/latency.py [--data ml-1m] [--peers FOLDER] [--quick]

Writes results/latency.json and results/latency.svg beside this file. Latency does not depend on what weights hold, so
all models have random ones; the sessions are those of `--data`, or the built-in sample's. Let nothing else run.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from measuring import clear_errors
from peers import peers
from rich.console import Console

from deployrec.benchmark import BenchmarkConfig, Skipped, run_benchmark
from deployrec.benchmark.bundles import random_bundle
from deployrec.benchmark.chart import write_chart
from deployrec.benchmark.tables import tables
from deployrec.data import load_dataset

ITEMS = 3416
RESULTS = Path(__file__).parent / "results"
MODELS = {"recblr": {}, "glintru": {"dim": 64}, "gru4rec": {}, "sasrec": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample", help="an event log whose sessions are replayed")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments, see peers.py")
    parser.add_argument("--quick", action="store_true", help="fewer places")
    parser.add_argument("--out", type=Path, default=RESULTS / "latency.json")
    arguments = parser.parse_args()
    console = Console()
    with clear_errors(parser):
        dataset = load_dataset(arguments.data)
    with tempfile.TemporaryDirectory() as folder:
        bundles = []
        for key, options in MODELS.items():
            console.print(f"exporting {key} with random weights")
            bundles.append(random_bundle(key, ITEMS, Path(folder) / key, **options))
        others, absent = peers(arguments.peers, ITEMS)
        report = run_benchmark(
            bundles,
            BenchmarkConfig.quick() if arguments.quick else BenchmarkConfig(),
            dataset=dataset,
            peers=others,
            progress=lambda done, total, what: console.print(f"{done}/{total} {what}", end="\r", soft_wrap=True),
        )
    missing = [Skipped(*line.split(": ", 1)) for line in absent]
    report = replace(report, skipped=[*report.skipped, *missing])
    console.print(tables(report))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    report.save(arguments.out)
    write_chart(report, arguments.out.with_suffix(".svg"))
    console.print(f"wrote {arguments.out} and {arguments.out.with_suffix('.svg')}")


if __name__ == "__main__":
    main()
