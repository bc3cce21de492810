"""`deployrec info`: what a bundle holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from deployrec.cli.console import out as console
from deployrec.runtime.bundle import Bundle
from deployrec.runtime.manifest import PARITY, GraphTensor, Manifest


def info(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print manifest.json as it stands.")] = False,
) -> None:
    """Print a bundle's model, state layout, graphs, files and certificate, after checking every file's digest.

    examples:

      deployrec info bundles/glintru

      deployrec info bundles/glintru --json
    """
    opened = Bundle.open(bundle)
    if as_json:
        typer.echo(json.dumps(opened.manifest.document, indent=2, sort_keys=True, ensure_ascii=False))
        return
    for table in (_summary(opened), _state(opened.manifest), _graphs(opened.manifest), _files(opened.manifest)):
        console.print(table)
        console.print()


def _summary(bundle: Bundle) -> Table:
    manifest = bundle.manifest
    data, training = manifest.data, manifest.training
    table = _table(str(bundle.path), "", "")
    for label, value in (
        ("bundle", manifest.bundle_id),
        ("created", manifest.created),
        ("model", f"{manifest.model['key']}  {_pairs(manifest.model['config'])}"),
        ("items", f"{manifest.num_items:,}, vectors of {manifest.dim}"),
        (
            "requests",
            f"up to {manifest.top_k} items, excluding a user's newest {manifest.max_exclude} seen; "
            f"histories in chunks of {manifest.encode_chunk} events; opset {manifest.opset}",
        ),
        ("data", _pairs(data)),
        ("training", _pairs({name: value for name, value in training.items() if name != "metrics"})),
        ("metrics", _pairs(training.get("metrics") or {})),
        ("versions", _pairs(manifest.versions)),
        ("certificate", _certificate(bundle)),
    ):
        table.add_row(label, value)
    return table


def _state(manifest: Manifest) -> Table:
    spec = manifest.state
    exact = "a history of any length" if spec.exact_up_to is None else f"the newest {spec.exact_up_to} events"
    if not spec.tensors:
        return _table("no state: every request encodes the newest events again", "")
    table = _table(
        f"state of one user: {spec.floats:,} floats, {spec.bytes / 1024:.1f} KiB, exact for {exact}", "name", "shape"
    )
    for tensor in spec.tensors:
        table.add_row(tensor.name, " x ".join(map(str, tensor.shape)))
    return table


def _graphs(manifest: Manifest) -> Table:
    table = _table("graphs", "file", "inputs", "outputs")
    for graph in manifest.graphs.values():
        table.add_row(graph.file, _signature(graph.inputs), _signature(graph.outputs))
    return table


def _files(manifest: Manifest) -> Table:
    table = _table("files", "name", "KiB", "sha256")
    table.columns[1].justify = "right"
    for name, file in manifest.files.items():
        table.add_row(name, f"{file.bytes / 1024:,.1f}", file.sha256)
    return table


def _certificate(bundle: Bundle) -> str:
    """The line that sums up parity.json."""
    rows = json.loads(bundle.file(PARITY).read_text()).get("comparisons", [])
    failed = sum(not row["passed"] for row in rows)
    return f"{len(rows)} comparisons, {failed} failed"


def _signature(tensors: tuple[GraphTensor, ...]) -> str:
    return "\n".join(f"{t.name} [{', '.join(map(str, t.shape))}] {t.dtype}" for t in tensors)


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_pairs(value)})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
