"""`deployrec build engine`: TensorRT plans of a bundle's graphs; `build triton`: a repository for Triton's server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deployrec.cli.console import doing, leaving, say
from deployrec.cli.console import out as console

if TYPE_CHECKING:
    from deployrec.export.engine import EngineReport

app = typer.Typer(help="Build what a bundle needs on the machine that serves.", rich_markup_mode="rich")


@app.command()
def engine(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    precision: Annotated[str, typer.Option(help="fp32, or fp16 for the products with weights.")] = "fp32",
    max_batch: Annotated[int, typer.Option(help="Most users of one call.")] = 256,
    max_history: Annotated[
        int | None, typer.Option(help="Most events of one encode call; default: the bundle's.")
    ] = None,
    max_k: Annotated[int, typer.Option(help="Most items of one list; at most 3839.")] = 100,
    plugin: Annotated[
        Path | None, typer.Option(help="libdeployrec_plugin.so; default: $DEPLOYREC_PLUGIN_LIBRARY.")
    ] = None,
    carry_plugin: Annotated[
        bool, typer.Option("--carry-plugin", help="Put the plugin library into the encode plan.")
    ] = False,
) -> None:
    """Build TensorRT plans for this machine's GPU and add them to the bundle.

    examples:

      deployrec build engine bundles/glintru --plugin plugins_trt/build/release/src/plugin/libdeployrec_plugin.so

      deployrec build engine bundles/recblr --precision fp16 --max-batch 512 --max-history 200
    """
    with doing("loading torch and onnx"):
        from deployrec.export.engine import build_engines

    with doing(f"building the plans of {bundle}"), leaving(f"{bundle} is as it was"):
        report = build_engines(
            bundle,
            precision=precision,
            max_batch=max_batch,
            max_history=max_history,
            max_k=max_k,
            plugin=plugin,
            carry_plugin=carry_plugin,
        )
    print_report(report, plugin)


@app.command()
def triton(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    out: Annotated[Path, typer.Option(help="New folder of the model repository.")],
    k: Annotated[int, typer.Option(help="Items of every list.")] = 100,
    max_batch: Annotated[int, typer.Option(help="Most users of one call.")] = 256,
    store: Annotated[
        str, typer.Option(help="Where the python model keeps users: memory, lmdb:PATH or redis://HOST.")
    ] = "memory",
) -> None:
    """Write a model repository for NVIDIA's Triton Inference Server: the graphs, and a model with ids and titles.

    examples:

      deployrec build triton bundles/glintru --out repository --store lmdb:/var/lib/deployrec/users
    """
    from deployrec.bundle.bundle import Bundle
    from deployrec.triton.repository import build_repository

    with doing(f"writing {out}"):
        opened = Bundle.open(bundle)
        models = build_repository(opened, out, min(k, opened.manifest.num_items), max_batch, store)
    say(f"{out}: {', '.join(models)}")
    say(f"tritonserver --model-repository={out}")


def print_report(report: EngineReport, plugin: Path | None) -> None:
    """Sizes and times, for fp16 the errors, then the lines for trtexec and Triton Inference Server."""
    from deployrec.export.engine import plan_file

    table = Table(box=None, pad_edge=False)
    for title in ("plan", "MiB", "seconds", "plugin layers"):
        table.add_column(title, justify="left" if title == "plan" else "right")
    for graph, built in report.record["graphs"].items():
        table.add_row(
            plan_file(graph), f"{built['bytes'] / 2**20:.1f}", f"{built['seconds']:.1f}", str(built["plugin_layers"])
        )
    console.print(table)
    if report.record["parity"]:
        worst = ", ".join(f"{name} {figure:.1e}" for name, figure in report.record["parity"].items())
        console.print(f"Largest difference of the fp16 graphs from the float64 reference: {worst}.")
    library = str(plugin or "$DEPLOYREC_PLUGIN_LIBRARY")
    console.print("\nThe same with TensorRT's own tools:")
    for line in (*trtexec_lines(report, library), triton_line(library)):
        console.print(f"  {line}", markup=False, soft_wrap=True)


def trtexec_lines(report: EngineReport, library: str) -> list[str]:
    """Builds the encode plan by trtexec (a TensorRT 10 needs --stronglyTyped too), and times the one that was built."""
    from deployrec.export.engine import plan_file

    bundle, sizes = report.bundle, report.record["profile"]
    inputs = bundle.manifest.graphs["encode"].inputs

    def shapes(place: int) -> str:
        texts = (
            f"{t.name}:{'x'.join(str(sizes[a][place] if isinstance(a, str) else a) for a in t.shape)}" for t in inputs
        )
        return ",".join(texts)

    build = (
        f"trtexec --onnx={bundle.path / bundle.manifest.graphs['encode'].file} --saveEngine=encode.plan --noTF32 "
        f"--dynamicPlugins={library} --minShapes={shapes(0)} --optShapes={shapes(1)} --maxShapes={shapes(2)}"
    )
    run = f"trtexec --loadEngine={bundle.path / plan_file('encode')} --dynamicPlugins={library} --shapes={shapes(1)}"
    return [build, run]


def triton_line(library: str) -> str:
    return f'tritonserver --model-repository=REPOSITORY --backend-config=tensorrt,plugins="{library}"'
