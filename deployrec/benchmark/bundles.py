"""Bundles made only to be timed: models with random weights, and a bundle's graphs over another catalogue."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import torch
from safetensors.torch import load_file, save_file

import deployrec
from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.manifest import ITEMS, WEIGHTS
from deployrec.bundle.table import Table
from deployrec.bundle.time_facts import TimeFacts
from deployrec.data import write_items
from deployrec.errors import BundleError
from deployrec.export.again import padding_mask, resize_graph
from deployrec.export.bundle import describe
from deployrec.export.graphs import write_graphs
from deployrec.export.narrow import write_table
from deployrec.models import ModelClass, build_model, class_spec, model_class

SPREAD = 0.02
RANDOM = {"preset": "none", "weights": "random"}


def random_bundle(model: str | ModelClass, num_items: int, folder: Path, *, seed: int = 0, **options: Any) -> Bundle:
    """A bundle of a freshly initialised model in the new `folder`, without a parity certificate."""
    torch.manual_seed(seed)
    built = build_model(model, num_items, options).eval()
    folder.mkdir(parents=True)
    save_file(built.state_dict(), folder / WEIGHTS)
    _write_catalogue(num_items, folder)
    time = None if built.moment is None else TimeFacts("s", "second", 0.0, built.moment.calendar is not None)
    graphs = write_graphs(built, folder, time)
    data = {"name": "none", "digest": "", "num_users": 0, "num_items": num_items, "num_events": 0}
    timed = {"time": asdict(time)} if time else {}
    seal(folder, describe(built, graphs, data, RANDOM) | timed)
    return Bundle.open(folder)


def resized_bundle(bundle: Bundle, num_items: int, folder: Path, seed: int = 0) -> Bundle:
    """The same graphs over `num_items` random item vectors, in the new `folder`: no export, so a matter of seconds."""
    manifest = bundle.manifest
    folder.mkdir(parents=True)
    write_table(Table.rounded(_random_table(num_items, manifest.dim, seed), manifest.table.dtype), folder)
    for graph in manifest.graphs.values():
        model = onnx.load(str(bundle.file(graph.file)), load_external_data=False)
        resize_graph(model, manifest.num_items, manifest.dim, padding_mask(num_items))
        onnx.save_model(model, str(folder / graph.file))
    _write_catalogue(num_items, folder)
    document = {
        k: v for k, v in manifest.document.items() if k not in ("files", "bundle_id", "digest", "index", "base")
    }
    document["model"] = {**manifest.model, "num_items": num_items}
    document["training"] = RANDOM
    document["certificate"] = {"lengths": [], "endless": {}}
    # The weights are those of the other catalogue's model: torch gets them with the table of this one.
    save_file(load_file(bundle.file(WEIGHTS)), folder / WEIGHTS)
    seal(folder, document)
    return Bundle.open(folder, check=False)


def rival_bundle(model: str | ModelClass, num_items: int) -> Bundle:
    """`random_bundle` of a model's defaults, exported once for this code and kept in the user's cache folder."""
    cls = model_class(model)
    folder = cache_folder() / f"{cls.key}-{num_items}-{_code_digest(cls)[:12]}"
    with suppress(BundleError):
        return Bundle.open(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = random_bundle(cls, num_items, Path(scratch) / cls.key)
        made.path.rename(folder)
    return Bundle.open(folder)


def cache_folder() -> Path:
    """Where rivals' bundles are kept; safe to delete."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deployrec" / "rivals"


def _code_digest(cls: ModelClass) -> str:
    """Of the code that makes its bundles: a bundle of other code is exported again."""
    root, own = Path(deployrec.__file__).parent, Path(inspect.getfile(cls))
    sources = {path for room in ("models", "export") for path in (root / room).glob("*.py")}
    sources |= set(own.parent.glob("*.py")) if "." in cls.__module__ else {own}
    content = b"".join(path.read_bytes() for path in sorted(sources))
    return hashlib.sha256(class_spec(cls).encode() + content).hexdigest()


def _random_table(num_items: int, dim: int, seed: int) -> np.ndarray:
    table = np.random.default_rng(seed).standard_normal((num_items + 1, dim), np.float32) * np.float32(SPREAD)
    table[0] = 0
    return table


def _write_catalogue(num_items: int, folder: Path) -> None:
    ids = [str(number) for number in range(1, num_items + 1)]
    items = pl.DataFrame({"item_id": ids, "title": ids, "popularity": np.ones(num_items, np.int64)})
    write_items(items, folder / ITEMS)
