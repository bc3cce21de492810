"""`deployrec verify`: a bundle's digests, and its graphs against the certificate, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from deployrec.bundle.parity import STATE_RTOL, TIE_FACTOR, USER_ATOL
from deployrec.cli.console import doing
from deployrec.cli.console import out as console
from deployrec.runtime.verify import VerifyReport
from deployrec.runtime.verify import verify as verify_bundle

QUANTITIES = ("user", "state", "top-k", "scores")


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    backend: Annotated[str, typer.Option(help="Which backend runs the graphs.")] = "onnxruntime",
    trusted: Annotated[
        list[Path] | None, typer.Option(help="Public key (PEM) that must have signed the bundle; repeat: or another.")
    ] = None,
) -> None:
    """Check every file's digest and rerun the parity certificate's cases; exit code 1 if a gate fails.

    examples:

      deployrec verify bundles/glintru

      deployrec verify bundles/glintru --trusted key.pub
    """
    with doing(f"verifying {bundle}") as progress:
        report = verify_bundle(bundle, backend, trusted=trusted or None, progress=progress)
    manifest = report.bundle.manifest
    sealed = f"{bundle}: {len(manifest.files)} files as export wrote them (bundle {manifest.bundle_id[:12]})"
    console.print(sealed, soft_wrap=True, markup=False)
    if trusted:
        console.print(f"signed by {' or '.join(map(str, trusted))}", soft_wrap=True, markup=False)
    else:
        console.print("the digests do not say who made it (see --trusted)", style="dim", soft_wrap=True, markup=False)
    for name in report.stray_files:
        console.print(f"note: {name} is no part of the bundle and is never read", markup=False)
    console.print(_table(report))
    console.print(
        f"limits: user {USER_ATOL:.0e}; state {STATE_RTOL:.0e} * max(1, |s|); top-k and scores {TIE_FACTOR:.0e} * "
        "the largest L1 norm of an item vector",
        style="dim",
        soft_wrap=True,
    )
    failed = sum(not row.passed for row in report.comparisons)
    if failed:
        for row in (row for row in report.worst() if not row.passed):
            off = f"{row.quantity} off by {row.figure:.1e}, limit {row.limit:.1e}"
            console.print(f"  {row.comparison}, {row.case}: {off}", soft_wrap=True)
        console.print(
            f"[red]Parity fails[/]: {failed} of {len(report.comparisons)} comparisons; export the bundle again",
            soft_wrap=True,
        )
        raise typer.Exit(1)
    console.print(f"[green]Parity holds[/]: {len(report.comparisons)} comparisons against float64 answers")


def _table(report: VerifyReport) -> Table:
    """The largest errors of each way to a user's state."""
    table = Table("comparison", *QUANTITIES, "", box=None, pad_edge=False, header_style="bold")
    worst = {(row.comparison, row.quantity): row for row in report.worst()}
    for name in dict.fromkeys(row.comparison for row in report.comparisons):
        rows = [worst.get((name, quantity)) for quantity in QUANTITIES]
        figures = [f"{row.figure:.1e}" if row else "" for row in rows]
        held = all(row.passed for row in rows if row)
        table.add_row(name, *figures, "[green]holds[/]" if held else "[red]fails[/]")
    return table
