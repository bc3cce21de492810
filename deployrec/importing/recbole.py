"""A checkpoint of RecBole becomes a finished run: the same scores, under the log's own item ids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from deployrec.data import Dataset, load_dataset
from deployrec.errors import DataError
from deployrec.files import atomic_file, check_writable, first_line, sha256_file
from deployrec.importing.checkpoint import Checkpoint
from deployrec.importing.recbole_log import RecBoleLog, read_recbole_log
from deployrec.importing.recbole_models import Recipe, recipe_of
from deployrec.models import SequentialRecommender, build_model
from deployrec.progress import Progress, silent
from deployrec.training.config import TrainingConfig
from deployrec.training.runs import Run

PRESET = "recbole"


def import_recbole(
    checkpoint: str | Path,
    data: str | Path,
    *,
    items: str | Path | None = None,
    whole_histories: bool = False,
    root: str | Path = "runs",
    progress: Progress = silent,
) -> tuple[Run, Dataset]:
    """Makes the run root/MODEL/TIME of a checkpoint that RecBole 1.2's trainer saved, and its data.

    checkpoint       saved/MODEL-DATE.pth; its pickle is read without running what it names
    data             the .inter file that RecBole was trained on: a checkpoint holds no item ids
    items            a file of items for titles; default: X.item beside X.inter
    whole_histories  GRU4Rec and RecBLR: a state that carries all events of a user instead of RecBole's newest
                     MAX_ITEM_LIST_LENGTH; the scores of longer histories are then others than RecBole's

    The run holds the events as RecBole kept and sorted them. Raises DataError for a file that is no such checkpoint, a
    model that cannot give the same scores here, with the reason, and a log that is not the training's.

    run, dataset = import_recbole("saved/GRU4Rec.pth", "dataset/ml-100k/ml-100k.inter")
    export_bundle(run.model(), dataset, "bundles/gru4rec")
    """
    check_writable(root, "--out")
    read = Checkpoint.read(checkpoint)
    recipe = recipe_of(read)
    window = int(recipe.options.get("window") or recipe.options["context_length"])
    if whole_histories:
        recipe = _unbounded(read, recipe)
    log = read_recbole_log(data, read.settings, progress)
    _check_items(recipe, log)
    dataset = load_dataset(log.events, time=None, items=items or log.items)
    dataset = replace(dataset, name=log.name, notes=(*log.notes, *dataset.notes, *_left_out(log, dataset)))
    model = _model(read, recipe, log, dataset)
    training = replace(TrainingConfig(), window=window, tokens=max(window, TrainingConfig().tokens))
    run = Run.create(root, model, None, dataset, PRESET, training)
    try:
        return _finished(run, model, log, items or log.items, read), dataset
    except BaseException:
        run.discard()
        raise


def _unbounded(checkpoint: Checkpoint, recipe: Recipe) -> Recipe:
    if "context_length" not in recipe.options:
        raise DataError(
            f"expected a recurrence for whole histories; got {checkpoint.model}, which reads a window; leave out "
            "--whole-histories"
        )
    return recipe._replace(options={**recipe.options, "context_length": 0})


def _check_items(recipe: Recipe, log: RecBoleLog) -> None:
    rows = len(recipe.table) - 1
    if len(log.item_ids) != rows:
        raise DataError(
            f"expected the log of the training, which left {rows:,} items under the checkpoint's filters; got "
            f"{log.name} with {len(log.item_ids):,}; name the .inter file as it was then, X.item and X.user beside it"
        )


def _left_out(log: RecBoleLog, dataset: Dataset) -> list[str]:
    absent = len(log.item_ids) - dataset.num_items
    return [f"{absent:,} items of X.item that no event has are left out: they were never trained"] if absent else []


def _model(checkpoint: Checkpoint, recipe: Recipe, log: RecBoleLog, dataset: Dataset) -> SequentialRecommender:
    """Our model with RecBole's weights, its item table in the order of the data set's rows."""
    model = build_model(recipe.model, dataset.num_items, recipe.options)
    number = {item: place + 1 for place, item in enumerate(log.item_ids)}
    order = [number[item] for item in dataset.items["item_id"]]
    table = torch.zeros_like(model.embedding.weight)
    table[1:] = recipe.table[order]
    try:
        model.load_state_dict({**recipe.weights, "embedding.weight": table})
    except RuntimeError as error:
        raise DataError(
            f"expected the weights of RecBole's {checkpoint.model} in {checkpoint.path}; got others "
            f"({first_line(error)}); a model of that name with other layers is not imported"
        ) from None
    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(f"expected finite weights in {checkpoint.path}; got NaN or infinity in {name}; train again")
    return model.eval()


def _finished(
    run: Run, model: SequentialRecommender, log: RecBoleLog, items: str | Path | None, checkpoint: Checkpoint
) -> Run:
    kept = (run.path / f"{log.name}.parquet").absolute()
    with atomic_file(kept) as file:
        log.events.write_parquet(file)
    options: dict[str, Any] = {"time": None}
    if items is not None:
        options["items"] = str(Path(items).absolute())
    facts = {
        "data": {**run.record["data"], "source": str(kept), "options": options},
        "imported": {"checkpoint": checkpoint.path.name, "sha256": sha256_file(checkpoint.path), "from": "recbole"},
    }
    return run.finish(model, {}, facts)
