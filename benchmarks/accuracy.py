"""How well models rank the next item: one row per (model, data, seed), beside floors and published figures.

    python -m benchmarks.accuracy --data ml-1m beauty --models recblr glintru glintru:dim=64 --seeds 1 2
    python -m benchmarks.accuracy --data ml-1m --preset quick --models recblr recblr:layers=1 recblr:conv=false
    python -m benchmarks.accuracy --show

A model is its key, with settings as `deployrec train --set` takes them. Runs lie under --runs: a finished one is not
trained again, an interrupted one goes on where it stopped. Every finished row is in accuracy.json at once, the tables
of the test split in accuracy.md: in --out, or with --commit-results among the README's; tuning.md tells what was tried
on the way to the presets.

Leave-one-out, all items ranked, ties counted by their expected value. Figures are those of the state streamed over the
whole history (windowed where a model has none), masked (seen items taken out, as serving does) and unmasked.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.measuring import RESULTS, UNTRACKED, add_out, clear_errors, markdown, write_results
from benchmarks.published import PUBLISHED
from deployrec.data import Dataset
from deployrec.errors import RunError
from deployrec.files import atomic_write
from deployrec.training.baselines import FLOORS
from deployrec.training.evaluate import ENOUGH_USERS
from deployrec.training.presets import PRESETS
from deployrec.training.runs import RUN_FILE, DataSource, Run
from deployrec.training.train import configure, fit, start

SCORERS = ("streamed", "windowed")
KINDS = ("masked", "unmasked")
SHOWN = ("hr@10", "ndcg@10")
KEY = ("data", "preset", "model", "seed")
HEADER = ["", "masked HR@10", "NDCG@10", "unmasked HR@10", "NDCG@10", "streamed / windowed", "seeds"]
HEADER += ["epochs", "minutes", "parameters", "state, KiB"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[], help="event logs, as `deployrec train --data` takes them")
    parser.add_argument("--core", type=int, default=1, help="keep users and items with at least so many events")
    parser.add_argument("--models", nargs="+", default=["recblr", "glintru", "glintru:dim=64", "gru4rec", "sasrec"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"), help="folder of the runs")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="which figures to show")
    parser.add_argument("--show", action="store_true", help="only print the table of the results so far")
    add_out(parser)
    arguments = parser.parse_args()
    if not arguments.show and not arguments.data:
        parser.error("expected --data; got none; name event logs, or pass --show")
    results = Results((arguments.out or (RESULTS if arguments.show else UNTRACKED)) / "accuracy.json")
    if not arguments.show:
        with clear_errors(parser):
            add_rows(results, arguments)
        atomic_write(results.path.with_suffix(".md"), results.tables("test") + "\n")
    print(results.tables(arguments.split))


def add_rows(results: Results, arguments: argparse.Namespace) -> None:
    """A row for each data set, seed and model; all that is asked for is checked before the first training."""
    core = {"min_user": arguments.core, "min_item": arguments.core}
    sources = [DataSource(path, core) for path in arguments.data]
    datasets = [source.load() for source in sources]
    for dataset in datasets:
        for spec in arguments.models:
            model, settings = parse(spec)
            configure(model, dataset, arguments.preset, 0, settings)
    for source, dataset in zip(sources, datasets, strict=True):
        for seed in arguments.seeds:
            for spec in arguments.models:
                results.add(row(spec, arguments.preset, trained(spec, source, dataset, seed, arguments)))


class Results:
    """The rows in a JSON file, one for each KEY; a new one takes the place of its elder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []

    def add(self, row: dict[str, Any]) -> None:
        key = [row[name] for name in KEY]
        self.rows = [*(old for old in self.rows if [old[name] for name in KEY] != key), row]
        published = [figures._asdict() for figures in PUBLISHED]
        write_results(self.path.stem, {"rows": self.rows, "published": published}, self.path.parent)

    def tables(self, split: str) -> str:
        """A Markdown table for each data set and preset: our rows, best first, then floors and published figures."""
        texts = []
        kind = itemgetter("data", "preset")
        for (data, preset), group in groupby(sorted(self.rows, key=kind), kind):
            rows = list(group)
            lines = [line(model, seeds, split) for model, seeds in by_model(rows, split)]
            lines += floors(rows[-1], split)
            lines += published(data) if split == "test" else []
            texts.append(f"{data}, preset {preset}, {split}\n\n{markdown(HEADER, lines)}")
        return "\n\n".join(texts)


def trained(spec: str, source: DataSource, dataset: Dataset, seed: int, arguments: argparse.Namespace) -> Run:
    """The finished run of a model, trained now if it is not there."""
    model, settings = parse(spec)
    untrained, recipe = configure(model, dataset, arguments.preset, seed, settings)
    wanted = [untrained.config_dict(), recipe.to_dict(), dataset.digest]
    for run in runs_in(arguments.runs / model):
        record = run.record
        if [record["model"]["config"], record["training"], record["data"]["digest"]] == wanted:
            break
    else:
        run, _ = start(
            model,
            source,
            preset=arguments.preset,
            seed=seed,
            settings=settings,
            root=arguments.runs,
            dataset=dataset,
        )
    console = Console()
    console.print(f"{spec} on {dataset.name}, {arguments.preset}, seed {seed}: {run.path}", soft_wrap=True)
    return run if run.finished else fit(run, dataset, console)


def parse(spec: str) -> tuple[str, list[str]]:
    """ "recblr:layers=1,conv=false" -> ("recblr", ["layers=1", "conv=false"])."""
    model, _, settings = spec.partition(":")
    return model, settings.split(",") if settings else []


def runs_in(folder: Path) -> Iterator[Run]:
    """The runs that can be read and that have not failed."""
    for file in sorted(folder.glob(f"*/{RUN_FILE}")):
        with suppress(RunError):
            run = Run.load(file.parent)
            if not run.failure:
                yield run


def row(spec: str, preset: str, run: Run) -> dict[str, Any]:
    """What results/accuracy.json says of a finished run."""
    record, model = run.record, run.untrained_model()
    facts = {name: record[name] for name in ("epochs", "best_epoch", "seconds", "device", "versions")}
    return {
        "model": spec,
        "data": record["data"]["name"],
        "digest": record["data"]["digest"],
        "preset": preset,
        "seed": run.training.seed,
        **facts,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "state_bytes": model.state_spec.bytes,
        "config": record["model"]["config"],
        "recipe": record["training"],
        "metrics": run.metrics,
    }


def by_model(rows: list[dict[str, Any]], split: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """(model, its rows over the seeds), the best masked NDCG@10 first."""
    models = {row["model"]: [other for other in rows if other["model"] == row["model"]] for row in rows}
    return sorted(models.items(), key=lambda pair: -statistics.mean(values(pair[1], split, "masked", "ndcg@10")))


def line(model: str, seeds: list[dict[str, Any]], split: str) -> list[str]:
    """One model's line: means over its seeds, with the standard deviation where there are several."""
    figures = [spread(values(seeds, split, kind, metric)) for kind in KINDS for metric in SHOWN]
    ratios = [ratio for row in seeds if (ratio := streaming(row, split)) is not None]
    return [
        model,
        *figures,
        f"{statistics.mean(ratios):.3f}" if ratios else "",
        str(len(seeds)),
        "/".join(str(row["best_epoch"]) for row in seeds),
        "/".join(f"{row['seconds'] / 60:.0f}" for row in seeds),
        f"{seeds[0]['parameters']:,}",
        f"{seeds[0]['state_bytes'] / 1024:.1f}",
    ]


def floors(row: dict[str, Any], split: str) -> list[list[str]]:
    """Popularity and the Markov chains, which every run evaluates beside itself on the test split, best first."""
    table = {name: figures for name, figures in row["metrics"][split]["rows"].items() if name in FLOORS}
    return [
        [name, *(f"{figures[kind][metric]:.4f}" for kind in KINDS for metric in SHOWN), *[""] * (len(HEADER) - 5)]
        for name, figures in sorted(table.items(), key=lambda floor: -floor[1]["masked"]["ndcg@10"])
    ]


def published(data: str) -> list[list[str]]:
    """Others' figures, masked beside masked and unmasked beside unmasked."""
    lines = []
    for figures in PUBLISHED:
        if figures.data == data:
            pair = [f"{figures.hr:.4f}", f"{figures.ndcg:.4f}"]
            both = [*pair, "", ""] if figures.masked else ["", "", *pair]
            lines.append([f"{figures.model}, {figures.source}", *both, *[""] * (len(HEADER) - 5)])
    return lines


def values(rows: Iterable[dict[str, Any]], split: str, kind: str, metric: str) -> list[float]:
    """A metric as served, for each of a model's seeds."""
    tables = (row["metrics"][split]["rows"] for row in rows)
    return [(table.get("streamed") or table["windowed"])[kind][metric] for table in tables]


def streaming(row: dict[str, Any], split: str) -> float | None:
    """Masked NDCG@10 streamed over windowed for users longer than the window, where they are enough to tell."""
    metrics = row["metrics"][split]
    if "streamed" not in metrics["rows"] or metrics["num_long"] < ENOUGH_USERS:
        return None
    streamed, windowed = (metrics["rows"][name]["masked_long_users"]["ndcg@10"] for name in SCORERS)
    return float(streamed / windowed) if windowed else None


def spread(figures: list[float]) -> str:
    mean = f"{statistics.mean(figures):.4f}"
    return f"{mean} ± {statistics.stdev(figures):.4f}" if len(figures) > 1 else mean


if __name__ == "__main__":
    main()
