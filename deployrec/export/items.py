"""New items without retraining, and items that are to come no more: another sealed bundle of the same model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import torch
from safetensors.torch import save

from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.catalogue import Catalogue
from deployrec.bundle.manifest import (
    INDEX_USERS,
    ITEM_TABLE,
    ITEMS,
    RETIRED,
    TOWER,
    WEIGHTS,
)
from deployrec.bundle.parity import ParityCases
from deployrec.bundle.table import Table
from deployrec.bundle.writing import writing
from deployrec.data import write_items
from deployrec.data.items import read_facts
from deployrec.data.table import BadRows
from deployrec.errors import ConfigError, DataError
from deployrec.export.again import padding_mask, resize_graph, torch_model
from deployrec.export.bundle import ExportReport, certify_model
from deployrec.export.index import write_index
from deployrec.export.narrow import write_table
from deployrec.export.parity import History
from deployrec.export.tower import Fit, Tower, fit_tower
from deployrec.files import atomic_write
from deployrec.progress import Progress, silent

VECTOR, NEIGHBOURS = "vector", "neighbours"
"""Columns of a file of new items that say where a vector comes from."""
BETWEEN = "|"
"""Stands between neighbours' ids."""
NEW_HISTORIES = (1, 5, 50)
"""Lengths of the certificate's histories of which half is new items."""


@dataclass(frozen=True)
class Added:
    """The bundle with the new items; how many got their vector from where; the tower's worth where it was asked."""

    report: ExportReport
    given: int
    by_neighbours: int
    by_tower: int
    fit: Fit | None


def add_items(path: str | Path, items: Any, out: str | Path | None = None, progress: Progress = silent) -> Added:
    """Appends items to the catalogue of the bundle at `path`; writes the new bundle to `out`, by default in its place.

    items: a file (CSV, TSV, Parquet) or frame: item_id, title, further columns as in items.csv, and for each item its
    `vector` (numbers between spaces), or `neighbours` (ids between "|", whose mean it becomes), or neither: the
    bundle's tower, or one fitted now, makes a vector of the other columns (extra `items`).
    The model, its states and the rows of all items before stay what they are, so stored states are served on; the
    certificate is renewed, and an index built again. Raises DataError for items that are there already or cannot be
    read, ConfigError for columns from which no vector can be made, ParityError like an export.
    """
    bundle = Bundle.open(path)
    catalogue, table = bundle.catalogue(), bundle.item_table()
    new = _read(items, catalogue)
    vectors, counts, fit = _vectors(bundle, catalogue, table, new)
    columns = {"item_id": catalogue.item_ids[1:], "title": catalogue.titles[1:], "popularity": catalogue.popularity[1:]}
    before = pl.DataFrame({**columns, **{name: texts[1:] for name, texts in catalogue.columns.items()}})
    added = new.select(
        "item_id", "title", pl.lit(0).alias("popularity"), *(_column(new, name) for name in catalogue.columns)
    )
    after = pl.concat([before, added], how="vertical_relaxed")
    retired = bundle.retired(catalogue)
    stored = bundle.stored_table()
    longer = stored.joined(Table.rounded(vectors, stored.dtype))
    report = _write(bundle, longer, after, retired, Path(out or path), progress)
    return Added(report, *counts, fit)


def retire_items(
    path: str | Path, item_ids: Sequence[str], out: str | Path | None = None, progress: Progress = silent
) -> ExportReport:
    """Items that are to be recommended no more; they stay readable as history. Writes to `out`, by default in place.

    Raises DataError for an item that the catalogue does not know, and where none would be left.
    """
    bundle = Bundle.open(path)
    catalogue = bundle.catalogue()
    unknown = next((item_id for item_id in item_ids if item_id not in catalogue.rows), None)
    if unknown is not None or not item_ids:
        raise DataError(f"expected items of {ITEMS}; got {unknown!r}; name the ids of items to retire")
    rows = np.union1d(bundle.retired(catalogue), [catalogue.rows[item_id] for item_id in item_ids]).astype(np.int32)
    if len(rows) == catalogue.num_items:
        raise DataError("expected an item that is left to recommend; got all retired; leave one")
    return _write(bundle, bundle.stored_table(), None, rows, Path(out or path), progress)


def _write(
    bundle: Bundle, stored: Table, items: pl.DataFrame | None, retired: np.ndarray, out: Path, progress: Progress
) -> ExportReport:
    """The bundle over another table, whose rows begin with its own, and another catalogue, certified anew."""
    manifest, table, mask = bundle.manifest, stored.floats(), padding_mask(len(stored) - 1, retired.tolist())
    model = torch_model(bundle, table, mask)
    document = {name: manifest.document[name] for name in manifest.document if name not in ("index", "base")}
    document["model"] = {**manifest.model, "num_items": model.num_items}
    with writing(out, force=True) as folder, torch.no_grad():
        atomic_write(folder / WEIGHTS, save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))
        write_table(stored, folder)
        if items is None:
            atomic_write(folder / ITEMS, bundle.read(ITEMS))
        else:
            write_items(items, folder / ITEMS)
        catalogue = Catalogue.parse((folder / ITEMS).read_bytes(), folder / ITEMS, model.num_items)
        if len(retired):
            write_items(pl.DataFrame({"item_id": [catalogue.item_ids[row] for row in retired]}), folder / RETIRED)
        if TOWER in manifest.files:
            atomic_write(folder / TOWER, bundle.read(TOWER))
        for name, graph in manifest.graphs.items():
            content = onnx.load_model_from_string(bundle.graph(name)[0])
            resize_graph(content, manifest.num_items, manifest.dim, mask)
            onnx.save_model(content, str(folder / graph.file))
        document |= _base(bundle, len(table) - 1)
        histories = _histories(bundle.cases(), manifest.num_items, model.num_items)
        comparisons = certify_model(model, histories, document, folder, out, progress)
        if manifest.index:
            progress(0, 0, "building the index")
            users = np.load(bundle.file(INDEX_USERS), allow_pickle=False)
            document["index"] = write_index(table, users, folder, retired)
            seal(folder, document)
    return ExportReport(Bundle.open(out), comparisons)


def _base(bundle: Bundle, num_items: int) -> dict[str, Any]:
    """The manifest's entry on what items were added to; none where none were."""
    manifest = bundle.manifest
    if manifest.base is None and num_items == manifest.num_items:
        return {}
    before = manifest.document.get("base") or {
        "num_items": manifest.num_items,
        "item_rows": manifest.item_rows,
        "files": {file: manifest.files[file].sha256 for file in (WEIGHTS, ITEM_TABLE)},
        "lineage": [],
    }
    lineage = list(dict.fromkeys([*before["lineage"], before["item_rows"], manifest.item_rows]))
    return {"base": {**before, "lineage": lineage}}


def _histories(cases: ParityCases, num_items: int, then: int) -> list[History]:
    """The certificate's histories, and, where there are new items, some of which half is such."""
    histories = [History(cases.history(case), str(name)) for case, name in enumerate(cases.names)]
    rng = np.random.default_rng(0)
    for length in NEW_HISTORIES if then > num_items else ():
        rows = rng.integers(1, num_items + 1, length)
        rows[::2] = rng.integers(num_items + 1, then + 1, len(rows[::2]))
        histories.append(History(rows, "items that were added"))
    return histories


def _read(items: Any, catalogue: Catalogue) -> pl.DataFrame:
    """Texts of the new items, none null; raises DataError for items that are there already or come twice."""
    facts = read_facts(items, "item_id", None, BadRows())
    frame = facts.frame.with_columns(pl.all().fill_null(""))
    if facts.repeated or not frame.height:
        raise DataError(
            f"expected new items, each once, in {facts.source}; got {facts.repeated:,} repeats of {frame.height:,} "
            "items; leave them out"
        )
    known = frame.filter(pl.col("item_id").is_in(list(catalogue.rows)))["item_id"]
    if len(known):
        raise DataError(
            f"expected items that the bundle does not have in {facts.source}; got '{known[0]}'"
            f"{f' and {len(known) - 1:,} more' if len(known) > 1 else ''}; leave them out"
        )
    if strange := sorted(set(frame.columns) - {"item_id", "title", VECTOR, NEIGHBOURS, *catalogue.columns}):
        known_columns = ", ".join(("item_id", "title", *catalogue.columns, VECTOR, NEIGHBOURS))
        raise DataError(f"expected columns of {known_columns} in {facts.source}; got '{strange[0]}'; leave it out")
    return frame.with_columns(title=pl.when(pl.col("title") == "").then("item_id").otherwise("title"))


def _vectors(
    bundle: Bundle, catalogue: Catalogue, table: np.ndarray, new: pl.DataFrame
) -> tuple[np.ndarray, tuple[int, int, int], Fit | None]:
    """Vectors float32 [M, D] of the new items; how many were given, made of neighbours and by the tower; its worth."""
    found = np.zeros((new.height, table.shape[1]), np.float32)
    given, neighbours = (_column(new, name, frame=True) for name in (VECTOR, NEIGHBOURS))
    rest = []
    for place, item_id in enumerate(new["item_id"].to_list()):
        if given[place]:
            found[place] = _given(given[place], item_id, table.shape[1])
        elif neighbours[place]:
            found[place] = table[_rows(neighbours[place], item_id, catalogue)].mean(0)
        else:
            rest.append(place)
    if not rest:
        return found, (sum(map(bool, given)), new.height - sum(map(bool, given)), 0), None
    base = bundle.manifest.base
    tower = Tower.read(bundle) or fit_tower(catalogue, table, base.num_items if base else catalogue.num_items)
    own = new[rest]
    texts = {name: own[name].to_list() for name in own.columns if name in ("title", *catalogue.columns)}
    made = {name: texts[name] for name in (*tower.columns, *tower.numbers) if any(texts.get(name, ()))}
    if not made:
        raise ConfigError(
            f"expected a {VECTOR}, {NEIGHBOURS} or one of {', '.join((*tower.columns, *tower.numbers))} of new items; "
            f"got none for '{own['item_id'][0]}'; give one"
        )
    found[rest] = tower.vectors(made)
    by_vector = sum(map(bool, given))
    return found, (by_vector, new.height - by_vector - len(rest), len(rest)), tower.fit


def _column(new: pl.DataFrame, name: str, frame: bool = False) -> Any:
    """A column, as a list with `frame`, or empty texts where there is none."""
    if frame:
        return new[name].to_list() if name in new.columns else [""] * new.height
    return pl.col(name) if name in new.columns else pl.lit("").alias(name)


def _given(text: str, item_id: str, dim: int) -> np.ndarray:
    try:
        vector = np.array(text.split(), np.float32)
    except ValueError:
        vector = np.array([np.nan])
    if vector.shape != (dim,) or not np.isfinite(vector).all():
        raise DataError(
            f"expected a vector of {dim} finite numbers between spaces for item '{item_id}'; got '{text[:40]}'; mend it"
        )
    return vector


def _rows(text: str, item_id: str, catalogue: Catalogue) -> list[int]:
    named = [name.strip() for name in text.split(BETWEEN)]
    unknown = next((name for name in named if name not in catalogue.rows), None)
    if unknown is not None:
        raise DataError(
            f"expected ids of items in {ITEMS} between '{BETWEEN}' as neighbours of '{item_id}'; got '{unknown}'; "
            "mend it"
        )
    return [catalogue.rows[name] for name in named]
