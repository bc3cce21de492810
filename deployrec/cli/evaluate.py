"""`deployrec evaluate`: a run's figures on held-out items, beside the baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployrec.cli.console import out as console
from deployrec.errors import ConfigError, RunError

SPLITS = ("test", "validation")
SAFE_STREAMING = 0.98


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="Run folder; default: the newest finished run of --model.")] = None,
    model: Annotated[str, typer.Option(help="Model key, where no run is named.")] = "glintru",
    runs: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    data: Annotated[str | None, typer.Option(help="The run's event log, if it has moved since the training.")] = None,
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Rank all items for every user's held-out item: HR, NDCG and MRR, masked and unmasked, windowed and streamed.

    examples:

      deployrec evaluate --model recblr

      deployrec evaluate runs/recblr/20250101-120000 --data ml-1m/ml-1m.inter --split validation
    """
    from deployrec.models import model_class
    from deployrec.training.device import device_of
    from deployrec.training.evaluate import ceiling
    from deployrec.training.evaluate import evaluate as evaluate_model
    from deployrec.training.runs import DataSource, Run, newest_finished

    if split not in SPLITS:
        raise ConfigError(f"expected a split out of {', '.join(SPLITS)}; got '{split}'; choose one of them")
    place, key = device_of(device), model_class(model).key
    chosen = Run.load(run) if run else newest_finished(runs, key)
    if chosen is None:
        raise RunError(
            f"expected a finished run of {key} under {runs}; got none; run `deployrec train --model {key}` first"
        )
    trained = chosen.model().to(place)
    dataset = (chosen.source if data is None else DataSource(data, chosen.source.options)).load()
    chosen.check_data(dataset)
    console.print(f"evaluating {chosen.path} ({chosen.model_key}, {chosen.preset})", soft_wrap=True)
    report = evaluate_model(trained, dataset, window=chosen.training.window, split=split)
    console.print(report.table())
    if chosen.source.is_sample and split == "test":
        console.print(ceiling())
    ratio = report.streaming()
    if ratio is not None:
        safe = "safe to stream" if ratio >= SAFE_STREAMING else "streaming costs accuracy: raise carried_state"
        console.print(
            f"streamed / windowed NDCG@10 for the {report.num_long:,} users beyond {report.window} events: "
            f"{ratio:.3f} ({safe})",
            soft_wrap=True,
        )
