"""Checkpoints that RecBole saved, and what RecBole answers with them; recbole/make.py made all of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployrec.data import Dataset
from deployrec.importing.recbole import import_recbole
from deployrec.training.runs import Run

FOLDER = Path(__file__).parent / "recbole"
LOG = FOLDER / "log.inter.gz"


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Run, Dataset]]:
    """The run and the data of a checkpoint by RecBole's name of the model; imported once per session."""
    made: dict[str, tuple[Run, Dataset]] = {}

    def import_once(model: str) -> tuple[Run, Dataset]:
        if model not in made:
            made[model] = import_recbole(FOLDER / f"{model}.pth", LOG, root=tmp_path_factory.mktemp("runs"))
        return made[model]

    return import_once


@pytest.fixture(scope="session")
def answers() -> Callable[[str], list[dict[str, Any]]]:
    """RecBole's own: [{user, history, top, scores}] of all its test users."""

    def read(model: str) -> list[dict[str, Any]]:
        with gzip.open(FOLDER / f"{model}.json.gz", "rt", encoding="utf-8") as file:
            found: list[dict[str, Any]] = json.load(file)
        return found

    return read
