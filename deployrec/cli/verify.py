"""`deployrec verify`: a bundle's digests, and its graphs against the certificate, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from deployrec.cli.console import out as console


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    backend: Annotated[str, typer.Option(help="Which backend runs the graphs.")] = "onnxruntime",
) -> None:
    """Check every file's digest and rerun the parity certificate's cases; exit code 1 if a gate fails.

    examples:

      deployrec verify bundles/glintru
    """
    from deployrec.runtime.verify import verify as verify_bundle

    report = verify_bundle(bundle, backend)
    manifest = report.bundle.manifest
    console.print(f"{bundle}: {len(manifest.files)} files as export wrote them (bundle {manifest.bundle_id[:12]})")
    for name in report.stray_files:
        console.print(f"note: {name} is no part of the bundle and is never read", markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("comparison", "quantity", "largest error", "limit", "on", ""):
        table.add_column(column, justify="right" if column in ("largest error", "limit") else "left")
    for row in report.worst():
        verdict = "[green]holds[/]" if row.passed else "[red]fails[/]"
        table.add_row(row.comparison, row.quantity, f"{row.figure:.1e}", f"{row.limit:.1e}", row.case, verdict)
    console.print(table)
    failed = sum(not row.passed for row in report.comparisons)
    if failed:
        console.print(
            f"[red]Parity fails[/]: {failed} of {len(report.comparisons)} comparisons; export the bundle again"
        )
        raise typer.Exit(1)
    console.print(f"[green]Parity holds[/]: {len(report.comparisons)} comparisons against float64 answers")
