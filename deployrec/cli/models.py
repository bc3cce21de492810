"""`deployrec models`: which models there are, and what `train --set` can change about each."""

from __future__ import annotations

from dataclasses import MISSING
from typing import Annotated

import typer
from rich.table import Table

from deployrec import discovery
from deployrec.cli.console import TRAINING, doing, say
from deployrec.cli.console import out as console
from deployrec.options import describe


def models(
    model: Annotated[str | None, typer.Argument(help="Model key; without one, all models are listed.")] = None,
) -> None:
    """List the models, or the settings of one: what `deployrec train --set` and `settings=` take, and their ranges.

    examples:

      deployrec models

      deployrec models recblr
    """
    if model is not None:
        discovery.check("models", model)
    with doing(TRAINING):
        from deployrec.models import available_models, model_class
        from deployrec.training.config import TrainingConfig
    if model is None:
        table = _table("model", "what it is")
        for key in available_models():
            table.add_row(key, first_sentence(model_class(key)))
        console.print(table)
        say("\nnext: deployrec models MODEL")
        return
    say(f"{model}: {first_sentence(model_class(model))}")
    for title, config_class in (("the model", model_class(model).config_class), ("the recipe", TrainingConfig)):
        console.print(f"\n[bold]{title}[/]")
        table = _table("key", "default", "takes", "meaning")
        for option in describe(config_class):
            default = "" if option.default is MISSING else str(option.default)
            table.add_row(option.key, default, option.range, option.meaning)
        console.print(table)
    say("\nA preset changes some of these defaults for its data; a setting goes over the preset.")
    say(f"next: deployrec train --model {model} --set KEY=VALUE")


def first_sentence(described: type) -> str:
    """How a model's module, else its class, begins to say what it is."""
    import sys

    text = sys.modules[described.__module__].__doc__ or described.__doc__ or ""
    return " ".join(text.split("\n\n")[0].split())


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=name in ("key", "model", "default"), overflow="fold")
    return table
