"""`deployrec export`: the newest finished run of a model, or a quick one on the sample, becomes a verified bundle."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deployrec import discovery
from deployrec.cli import usage
from deployrec.cli.console import TRAINING, doing, leaving, say
from deployrec.cli.console import out as console
from deployrec.cli.options import print_notes
from deployrec.errors import ConfigError, RunError

if TYPE_CHECKING:
    from deployrec.export import ExportReport


def export(
    ctx: typer.Context,
    model: Annotated[
        str | None, typer.Option(help="Name, such as glintru, or package.module:Class; a --run knows its own.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Bundle folder to write; default: bundles/MODEL.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder to export; default: the newest finished one.")] = None,
    data: Annotated[str | None, typer.Option(help="The run's event log, if it has moved since the training.")] = None,
    items: Annotated[
        Path | None, typer.Option(help="A file of items, if the run's has moved or there was none.")
    ] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    table: Annotated[
        str, typer.Option(help="What the item table is rounded to: float32, float16 or int8.")
    ] = "float32",
    index: Annotated[
        bool, typer.Option("--index", help="Build an approximate index over the items too, for large catalogues.")
    ] = False,
    tower: Annotated[
        bool, typer.Option("--tower", help="Fit what makes vectors of new items' columns (see `deployrec items add`).")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is already there.")] = False,
) -> None:
    """Export a trained model as a bundle whose graphs provably agree with the training code.

    examples:

      deployrec export --model glintru

      deployrec export --run runs/recblr/20260101-120000 --out bundles/films
    """
    usage.refuse_beside(ctx, "run", "runs", why="a named run is looked for nowhere else")
    if model is None and run is None:
        raise ConfigError("expected --model or --run; got neither; name the model whose newest run is exported")
    write(
        model, run=run, out=out, data=data, items=items, runs=runs, table=table, index=index, tower=tower, force=force
    )


def write(
    model: str | None,
    *,
    run: Path | None = None,
    out: Path | None = None,
    data: str | None = None,
    items: Path | None = None,
    runs: Path = Path("runs"),
    table: str = "float32",
    index: bool = False,
    tower: bool = False,
    force: bool = False,
) -> None:
    """Exports `run`, or the newest finished run of `model`, or one trained for it now, and prints what came of it."""
    if model is not None:
        discovery.check("models", model)
    with doing(TRAINING):
        from deployrec.bundle.writing import check_target
        from deployrec.export.bundle import export_bundle
        from deployrec.models import class_spec, model_class
        from deployrec.runtime.index import library
        from deployrec.training.runs import DataSource, Run, newest_finished
        from deployrec.training.train import train
    named = Run.load(run) if run else None
    spec = class_spec(model_class(model)) if model else named.model_spec if named else ""
    if named and named.model_spec != spec:
        raise ConfigError(
            f"expected a run of {spec}; got {named.path}, a run of {named.model_spec}; "
            "leave out --model, or name another run"
        )
    if index:
        library()  # said before any long work
    out = out or Path("bundles") / model_class(spec).key
    check_target(out, force)
    chosen = named or newest_finished(runs, spec, note=say)
    with leaving(f"nothing was written to {out}"):
        if chosen is None:
            if data is not None or items is not None:
                option, value = ("--data", data) if data is not None else ("--items", items)
                raise RunError(
                    f"expected a finished run of {spec} under {runs} for {option}; got none; "
                    f"run `deployrec train --model {spec} {option} {value}` first"
                )
            say(f"No finished run of {spec} under {runs}: training the quick preset on the sample first.")
            chosen = train(spec, DataSource("sample"), root=runs, console=console)
        say(f"Exporting {chosen.path}")
        with doing("reading the data") as progress:
            source = chosen.source_at(data).with_items(items)
            dataset = source.load(progress)
            chosen.check_data(dataset)
            if items is not None:
                print_notes(dataset)
            progress(0, 0, "writing the graphs and comparing them with the model in float64")
            report = export_bundle(
                chosen.model(),
                dataset,
                out,
                window=chosen.training.window,
                training={
                    "preset": chosen.preset,
                    "seed": chosen.training.seed,
                    "data_options": source.events().options,
                    "holdout": chosen.training.holdout,
                    "metrics": chosen.metrics,
                },
                exclude_seen=chosen.training.exclude_seen,
                table=table,
                index=index,
                tower=tower,
                force=force,
                progress=progress,
            )
    with leaving(f"{out} is written"):
        print_report(report)


def print_report(report: ExportReport) -> None:
    """The certificate in one line, the files, a step's latency on this machine, and what to do next."""
    from deployrec.benchmark import step_latency, window_latency
    from deployrec.bundle.manifest import TOWER
    from deployrec.bundle.parity import CERTIFIED_K, largest_figures
    from deployrec.cli.items import print_fit
    from deployrec.export.tower import Tower

    bundle = report.bundle
    largest, lengths = largest_figures(report.comparisons), bundle.manifest.certificate
    console.print(
        f"[green]Parity holds[/]: {len(report.comparisons)} comparisons on {len(lengths)} histories of up to "
        f"{max(lengths):,} events; largest error {largest['user']:.1e} (user vector), {largest['state']:.1e} (state); "
        f"top-{min(CERTIFIED_K, bundle.manifest.num_items)} agrees.",
        soft_wrap=True,
    )
    if falling := {kind: held for kind, held in bundle.manifest.endless.items() if held < max(lengths)}:
        kinds = ", ".join(f"{kind} up to {held:,}" if held else f"{kind} to none" for kind, held in falling.items())
        console.print(f"Of the endless histories float32 leaves the gates on: {kinds} events.", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("file")
    table.add_column("KiB", justify="right")
    for name, file in bundle.manifest.files.items():
        table.add_row(name, f"{file.bytes / 1024:,.1f}")
    console.print(table)
    if (rounded := bundle.manifest.table).users:
        console.print(
            f"Item table {rounded.dtype}: recall@10 {rounded.recall:.4f} of {rounded.users:,} users' float32 lists.",
            soft_wrap=True,
        )
    if found := bundle.manifest.index:
        console.print(
            f"Index {found.kind}, {found.probes} lists a request: recall@10 {found.recall:.4f} of the exact lists of "
            f"{found.users:,} users.",
            soft_wrap=True,
        )
    if TOWER in bundle.manifest.files and (tower := Tower.read(bundle)):
        print_fit(tower.fit)
    state = bundle.manifest.state
    with doing("timing an answer"):
        latency = step_latency(bundle) if "step" in bundle.manifest.graphs else window_latency(bundle)
    what, reach = "One step", "at any history length"
    if not state.tensors:
        what, reach = "One answer", f"reading the newest {bundle.manifest.window:,} events again"
    elif state.exact_up_to:
        reach = f"up to {state.exact_up_to:,} events, beyond which the newest are encoded again"
    console.print(
        f"{what} through ONNX Runtime, one thread: {latency.p50 * 1e6:.0f} us median, {latency.p99 * 1e6:.0f} us "
        f"p99, {reach}; " + (f"state {state.bytes / 1024:.1f} KiB a user." if state.tensors else "no state."),
        soft_wrap=True,
    )
    items = bundle.catalogue().item_ids[1:4]
    path = shlex.quote(str(bundle.path))
    say("\nNext:")
    for verb in (f"recommend {path} {history_option(items)}", f"verify {path}", f"info {path}"):
        say(f"  deployrec {verb}")


def history_option(items: Sequence[str]) -> str:
    """What hands `recommend` these item ids: one list or, where an id would break it, one option an id."""
    if all(re.fullmatch(r"[\w.:/-]+", item) for item in items):
        return f'--history "{",".join(items)}"'
    return " ".join(f"--item={shlex.quote(item)}" for item in items)
