"""`deployrec info`: what a bundle holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.graph import GraphTensor
from deployrec.bundle.manifest import PARITY, Manifest
from deployrec.cli.console import err, say
from deployrec.cli.console import out as console
from deployrec.errors import BundleError
from deployrec.files import canonical_json, first_line
from deployrec.progress import working
from deployrec.time_units import NAMES


def info(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print manifest.json as it stands.")] = False,
) -> None:
    """Print a bundle's model, state layout, graphs, files and certificate, after checking every file's digest.

    examples:

      deployrec info bundles/glintru

      deployrec info bundles/glintru --json
    """
    with working(err, f"checking {bundle}"):
        opened = Bundle.open(bundle)
    if as_json:
        say(canonical_json(opened.manifest.document), end="")
        return
    manifest = opened.manifest
    console.print(_summary(opened))
    if rows := _metrics(manifest):
        console.print("\n[bold]test metrics[/], all items ranked")
        console.print(_table(*rows))
    console.print(f"\n[bold]state of one user[/]: {_state_line(manifest)}")
    console.print(_table(*([t.name, " x ".join(map(str, t.shape))] for t in manifest.state.tensors)))
    console.print("\n[bold]graphs[/]")
    graphs = ([g.file, _signature(g.inputs), _signature(g.outputs)] for g in manifest.graphs.values())
    console.print(_table(["file", "inputs", "outputs"], *graphs))
    console.print("\n[bold]files[/]")
    console.print(_table(*([name, f"{f.bytes:,} bytes", f.sha256[:16]] for name, f in manifest.files.items())))


def _summary(bundle: Bundle) -> Table:
    manifest = bundle.manifest
    data, training = manifest.data, manifest.training
    return _table(
        ("bundle", manifest.bundle_id),
        ("states", manifest.state_id),
        ("created", manifest.created),
        ("model", f"{manifest.model['key']}  {_pairs(manifest.model['config'])}"),
        ("items", f"{manifest.num_items:,}, vectors of {manifest.dim}"),
        (
            "requests",
            f"any number of items, {'without' if manifest.exclude_seen else 'also of'} those the user has seen; "
            f"histories in chunks of {manifest.encode_chunk} events; opset {manifest.opset}",
        ),
        *_time(manifest),
        ("data", _pairs(data)),
        ("training", _pairs({name: value for name, value in training.items() if name != "metrics"})),
        ("versions", _pairs(manifest.versions)),
        ("certificate", _certificate(bundle)),
    )


def _time(manifest: Manifest) -> list[tuple[str, str]]:
    """How a time-aware bundle counts time; nothing of another."""
    time = manifest.time
    if time is None:
        return []
    days = f"{time.max_gap / 86_400:,.1f} days between two events at most"
    calendar = "; knows the day of a request" if time.calendar else ""
    return [("time", f"{NAMES[time.unit]} since 1970, exact to a {time.resolution}; {days} in training{calendar}")]


def _metrics(manifest: Manifest) -> list[list[str]]:
    """HR@10 and NDCG@10 of every scorer, with seen items excluded (as served) and ranked too."""
    test = (manifest.training.get("metrics") or {}).get("test", {}).get("rows", {})
    rows = [
        [name, *(f"{figures[kind][metric]:.4f}" for kind in ("masked", "unmasked") for metric in ("hr@10", "ndcg@10"))]
        for name, figures in test.items()
    ]
    return [["", "masked HR@10", "NDCG@10", "unmasked HR@10", "NDCG@10"], *rows] if rows else []


def _state_line(manifest: Manifest) -> str:
    spec = manifest.state
    if not spec.tensors:
        return "none; every request reads the newest events again"
    exact = "a history of any length" if spec.exact_up_to is None else f"the newest {spec.exact_up_to} events"
    return f"{spec.floats:,} floats, {spec.bytes / 1024:.1f} KiB, exact for {exact}"


def _certificate(bundle: Bundle) -> str:
    """The line that sums up parity.json."""
    try:
        rows = json.loads(bundle.read(PARITY)).get("comparisons", [])
        failed = sum(not row["passed"] for row in rows)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(
            f"expected comparisons in {bundle.file(PARITY)}; got {first_line(error)}; export the bundle again"
        ) from None
    return f"{len(rows)} comparisons, {failed} failed"


def _signature(tensors: tuple[GraphTensor, ...]) -> str:
    return "\n".join(f"{t.name} [{', '.join(map(str, t.shape))}] {t.dtype}" for t in tensors)


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_pairs(value)})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(*rows: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for row in rows:
        table.add_row(*map(escape, row))
    return table
