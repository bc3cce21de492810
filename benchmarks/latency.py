"""How long one recommendation takes, ours and the rivals', at MovieLens-1M sizes.

    python benchmarks/latency.py [--data ml-1m] [--peers FOLDER] [--quick]

Writes latency.json and latency.svg into --out; --commit-results makes them the README's. All models have random
weights; the sessions are those of `--data`, or the built-in sample's. Ours leave out what was seen; the peers, which
peers/ says how to install, do not. Let nothing else run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import UNTRACKED, add_out, clear_errors
from benchmarks.peers import peers
from deployrec.benchmark import BenchmarkConfig, Skipped, run_benchmark
from deployrec.benchmark.bundles import random_bundle
from deployrec.benchmark.chart import write_chart
from deployrec.benchmark.tables import tables
from deployrec.data import load_dataset
from deployrec.files import check_writable
from deployrec.progress import working

ITEMS = 3416
MODELS = {"recblr": {}, "glintru": {"dim": 64}, "gru4rec": {}, "sasrec": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample", help="an event log whose sessions are replayed")
    parser.add_argument("--peers", type=Path, help="folder of the peers' environments, see peers/__init__.py")
    parser.add_argument("--quick", action="store_true", help="fewer places")
    add_out(parser)
    arguments = parser.parse_args()
    out = (arguments.out or UNTRACKED) / "latency.json"
    console = Console()
    with clear_errors(parser):
        check_writable(out, "--out")
        dataset = load_dataset(arguments.data)
    with tempfile.TemporaryDirectory() as folder:
        bundles = []
        for key, options in MODELS.items():
            console.print(f"exporting {key} with random weights")
            bundles.append(random_bundle(key, ITEMS, Path(folder) / key, **options))
        others, absent = peers(arguments.peers, ITEMS)
        with working(console, "opening the bundles") as progress:
            report = run_benchmark(
                bundles,
                BenchmarkConfig.quick() if arguments.quick else BenchmarkConfig(),
                dataset=dataset,
                peers=others,
                progress=progress,
            )
        for peer in others:
            peer.close()
    missing = [Skipped(*line.split(": ", 1)) for line in absent]
    report = replace(report, skipped=[*report.skipped, *missing], peers=[peer.facts() for peer in others])
    console.print(tables(report))
    report.save(out)
    write_chart(report, out.with_suffix(".svg"))
    console.print(f"wrote {out} and {out.with_suffix('.svg')}")


if __name__ == "__main__":
    main()
