"""`deployrec export`: the newest finished run of a model, or a quick one on the sample, becomes a verified bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deployrec.cli.console import out as console

if TYPE_CHECKING:
    from deployrec.export import ExportReport


def export(
    model: Annotated[str, typer.Option(help="Name, such as glintru, or package.module:Class.")],
    out: Annotated[Path | None, typer.Option(help="Bundle folder to write; default: bundles/MODEL.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder to export; default: the newest finished one.")] = None,
    data: Annotated[str | None, typer.Option(help="The run's event log, if it has moved since the training.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    top_k: Annotated[int, typer.Option(help="Most items that one request can get.")] = 100,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is already there.")] = False,
) -> None:
    """Export a trained model as a bundle whose graphs provably agree with the training code.

    examples:

      deployrec export --model glintru

      deployrec export --model recblr --run runs/recblr/20260101-120000 --out bundles/films --top-k 50
    """
    from deployrec.export.bundle import check_target, export_bundle
    from deployrec.models import model_class
    from deployrec.training.runs import DataSource, Run, newest_finished
    from deployrec.training.train import train

    out = out or Path("bundles") / model_class(model).key
    check_target(out, force)
    chosen = Run.load(run) if run else newest_finished(runs, model)
    if chosen is None:
        console.print(f"No finished run of {model} under {runs}: training the quick preset on the sample first.")
        chosen = train(model, DataSource("sample"), root=runs, console=console)
    console.print(f"Exporting {chosen.path}", soft_wrap=True)
    source = chosen.source if data is None else DataSource(data, chosen.source.options)
    dataset = source.load()
    chosen.check_data(dataset)
    console.print("Writing the graphs and comparing them with the model in float64 ...")
    report = export_bundle(
        chosen.model(),
        dataset,
        out,
        top_k=top_k,
        window=chosen.training.window,
        training={
            "preset": chosen.preset,
            "seed": chosen.training.seed,
            "data_options": chosen.source.options,
            "metrics": chosen.metrics,
        },
        force=force,
    )
    print_report(report)


def print_report(report: ExportReport) -> None:
    """The certificate in one line, the files, a step's latency on this machine, and what to do next."""
    from deployrec.benchmark import step_latency
    from deployrec.bundle.catalogue import Catalogue
    from deployrec.bundle.manifest import ITEMS
    from deployrec.export.parity import LONGEST

    bundle = report.bundle
    worst = {name: max(row.figure for row in report.comparisons if row.quantity == name) for name in ("user", "state")}
    cases = len({row.case for row in report.comparisons})
    console.print(
        f"[green]Parity holds[/]: {len(report.comparisons)} comparisons on {cases} histories of up to {LONGEST:,} "
        f"events; largest error {worst['user']:.1e} (user vector), {worst['state']:.1e} (state); "
        f"top-{bundle.manifest.top_k} agrees."
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("file")
    table.add_column("KiB", justify="right")
    for name, file in bundle.manifest.files.items():
        table.add_row(name, f"{file.bytes / 1024:,.1f}")
    console.print(table)
    state = bundle.manifest.state
    latency = step_latency(bundle)
    window = state.exact_up_to
    reach = f"up to {window:,} events, beyond which the newest are encoded again" if window else "at any history length"
    console.print(
        f"One step through ONNX Runtime, one thread: {latency.p50 * 1e6:.0f} us median, {latency.p99 * 1e6:.0f} us "
        f"p99, {reach}; state {state.bytes / 1024:.1f} KiB a user."
    )
    history = ",".join(Catalogue.read(bundle.file(ITEMS), bundle.manifest.num_items).item_ids[1:4])
    console.print("\nNext:")
    for verb in (f'recommend {bundle.path} --history "{history}"', f"verify {bundle.path}", f"info {bundle.path}"):
        console.print(f"  deployrec {verb}", markup=False, soft_wrap=True)
