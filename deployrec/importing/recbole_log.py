"""A log as RecBole 1.2 read it for a training: which events it kept, in which order, and how it numbered the items.

A checkpoint holds no item ids. RecBole numbers items from 1 on by their first appearance among the events that it
keeps, then those of X.item that no event has; so the settings of the checkpoint are applied to the log again, in
RecBole's order: values, items and users that are known, then the k-core (recbole/data/dataset/dataset.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deployrec.data.binary import COMPRESSED, blocks
from deployrec.data.delimited import DelimitedFile, TextFormat
from deployrec.data.ids import clean_ids
from deployrec.data.sources import find_log, stem
from deployrec.data.table import BadRows
from deployrec.errors import DataError
from deployrec.importing.intervals import Intervals
from deployrec.progress import Progress, silent

USER, ITEM, TIME = "user_id", "item_id", "timestamp"
WITHOUT_EFFECT: tuple[object, ...] = (None, "", [], {}, False)
UNSUPPORTED = {
    "benchmark_filename": "its events lie in several files",
    "alias_of_item_id": "other fields are numbered together with the items",
    "alias_of_user_id": "other fields are numbered together with the users",
}


@dataclass(frozen=True, eq=False)
class RecBoleLog:
    """events: user_id, item_id, timestamp, users in the order of the log, each user's events as RecBole sorts them.

    item_ids   the log's own ids by RecBole's number: item n is item_ids[n - 1]
    items      X.item beside the log, if there is one
    notes      rows that were left out for want of an id
    """

    name: str
    events: pl.DataFrame
    item_ids: list[str]
    items: Path | None
    notes: tuple[str, ...]


def read_recbole_log(source: str | Path, settings: Mapping[str, Any], progress: Progress = silent) -> RecBoleLog:
    """Reads X.inter, and X.item and X.user where RecBole loaded them; `settings` are a checkpoint's.

    Raises DataError for a log that is none of RecBole's, for a column that the settings name and the log has not, and
    for settings under which the order of the items cannot be known.
    """
    for key, reason in UNSUPPORTED.items():
        if settings.get(key) not in WITHOUT_EFFECT:
            raise DataError(f"expected a checkpoint without {key}; got {settings[key]!r}: {reason}; it is not imported")
    found = find_log(source)
    if found.kind != ".inter" or len(found.files) > 1:
        raise DataError(f"expected the .inter file of the training; got {source}; name the log that RecBole read")
    path, bad = found.files[0], BadRows(skip=True)
    events = _read_events(path, settings, bad, progress)
    beside = {kind: _read_beside(path, kind, settings, bad) for kind in ("item", "user")}
    kept = _filtered(events, settings, beside)
    if not kept.height:
        raise DataError(
            f"expected events left in {path} under the checkpoint's filters; got none; name the training's log"
        )
    items = kept[ITEM].unique(maintain_order=True)
    others = beside["item"]
    if others is not None:
        interval = Intervals.parse(settings.get("item_inter_num_interval"))
        # Where items must have events, RecBole drops those of X.item that have none.
        if interval is None or interval.least <= 0:
            items = pl.concat([items, others.filter(~others.is_in(items.implode()))])
    item_file = _beside(path, "item")
    return RecBoleLog(found.name, _sorted(kept, settings), items.to_list(), item_file, tuple(bad.notes()))


def _read_events(path: Path, settings: Mapping[str, Any], bad: BadRows, progress: Progress) -> pl.DataFrame:
    """user_id, item_id (texts), timestamp (float64) and the fields that are filtered by value, in the log's order."""
    fields = _fields(settings)
    types, separator = _types(path, settings)
    by_value = [name for name in settings.get("val_interval") or {} if name not in fields.values()]
    for name in (*fields.values(), *by_value):
        if name not in types:
            raise DataError(
                f"expected the column '{name}' in {path}, as the checkpoint's settings call it; got "
                f"{', '.join(types)}; name the log that RecBole read"
            )
    if types[fields[TIME]] != "float":
        raise DataError(
            f"expected times of type float in {path}; got {fields[TIME]}:{types[fields[TIME]]}, which RecBole sorts "
            "by first appearance; train again with float times"
        )
    file = DelimitedFile(path, TextFormat((separator,), typed=True), [fields[USER]], progress)
    table = file.read({**fields, **{name: name for name in by_value}}, bad)
    for column, what in ((USER, "a user id"), (ITEM, "an item id")):
        table = clean_ids(table, column, fields[column], what, bad)
    frame, numbers = table.frame, [TIME, *(name for name in by_value if types[name] == "float")]
    frame = frame.with_columns(pl.col(name).cast(pl.Float64, strict=False) for name in numbers)
    if frame[TIME].null_count():
        raise DataError(f"expected a number in every row of '{fields[TIME]}' of {path}; got none in some; mend the log")
    return frame


def _filtered(
    events: pl.DataFrame, settings: Mapping[str, Any], beside: Mapping[str, pl.Series | None]
) -> pl.DataFrame:
    """The events that RecBole keeps, in the order in which it numbers them."""
    events, fields = _without_repeats(events, settings), {field: column for column, field in _fields(settings).items()}
    for name, allowed in (settings.get("val_interval") or {}).items():
        column = fields.get(name, name)
        if events.schema[column] == pl.Float64:
            interval = Intervals.parse(allowed)
            assert interval is not None
            events = events.filter(interval.holds(events[column].fill_null(np.nan).to_numpy()))
        else:
            events = events.filter(events[column].is_in(_texts(allowed)))
    if settings.get("filter_inter_by_user_or_item") is True:
        for kind, column in (("user", USER), ("item", ITEM)):
            known = beside[kind]
            if known is not None:
                events = events.filter(events[column].is_in(known.implode()))
    return _core(events, settings)


def _without_repeats(events: pl.DataFrame, settings: Mapping[str, Any]) -> pl.DataFrame:
    keep = settings.get("rm_dup_inter")
    if keep in WITHOUT_EFFECT:
        return events
    if keep not in ("first", "last"):
        raise DataError(f"expected rm_dup_inter as first or last; got {keep!r} in the checkpoint's settings")
    if events[TIME].n_unique() < events.height:
        raise DataError(
            f"expected different times in a log for rm_dup_inter={keep}; got some twice, which RecBole sorts in an "
            "order of its machine's, and numbers items by; train again on a log without repeats"
        )
    return events.sort(TIME).unique([USER, ITEM], keep=keep, maintain_order=True)


def _core(events: pl.DataFrame, settings: Mapping[str, Any]) -> pl.DataFrame:
    """Users and items whose numbers of events lie in the intervals, repeated until nothing changes."""
    limits = {
        column: interval
        for column, key in ((USER, "user_inter_num_interval"), (ITEM, "item_inter_num_interval"))
        if (interval := Intervals.parse(settings.get(key))) is not None
    }
    while True:
        counts = {column: events.select(pl.len().over(column)).to_series().to_numpy() for column in limits}
        holds = [interval.holds(counts[column].astype(np.float64)) for column, interval in limits.items()]
        kept: NDArray[np.bool_] = np.logical_and.reduce(holds) if holds else np.ones(events.height, bool)
        if kept.all():
            return events
        events = events.filter(kept)


def _sorted(events: pl.DataFrame, settings: Mapping[str, Any]) -> pl.DataFrame:
    """By user, in order of first appearance, then time as RecBole holds it: float32, in which close events tie."""
    time = events[TIME].to_numpy()
    if settings.get("normalize_all") or _fields(settings)[TIME] in (settings.get("normalize_field") or ()):
        time = (time - time.min()) / max(time.max() - time.min(), np.finfo(float).tiny)
    users = events[USER].unique(maintain_order=True)
    number = events.select(pl.col(USER).replace_strict(users, pl.int_range(len(users), eager=True))).to_series()
    order = np.lexsort((time.astype(np.float32), number.to_numpy()))
    return events[order].select(USER, ITEM, TIME)


def _read_beside(path: Path, kind: str, settings: Mapping[str, Any], bad: BadRows) -> pl.Series | None:
    """The ids of X.item or X.user in their order, where RecBole loaded that file."""
    loaded, file = settings.get("load_col"), _beside(path, kind)
    if file is None or (loaded is not None and not loaded.get(kind)):
        return None
    name = _fields(settings)[f"{kind}_id"]
    form = TextFormat((_types(file, settings)[1],), typed=True)
    table = DelimitedFile(file, form, [name]).read({name: name}, bad)
    ids = clean_ids(table, name, name, f"a {kind} id", bad).frame[name].unique(maintain_order=True)
    allowed = (settings.get("val_interval") or {}).get(name)
    return ids if allowed is None else ids.filter(ids.is_in(_texts(allowed)))


def _beside(path: Path, kind: str) -> Path | None:
    """X.item or X.user beside X.inter, packed or not."""
    places = (path.with_name(f"{stem(path)}.{kind}{suffix}") for suffix in ("", *COMPRESSED))
    return next((place for place in places if place.is_file()), None)


def _texts(values: Iterable[object]) -> list[str]:
    return [str(value) for value in values]


def _types(path: Path, settings: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """{field: type} of a header such as "user_id:token", and what stands between two fields."""
    separator = settings.get("field_separator") or "\t"
    header = next(blocks(path), b"").partition(b"\n")[0].decode(errors="replace").strip("\r\n")
    pairs = [field.partition(":") for field in header.split(separator)]
    if not all(colon for _, colon, _ in pairs):
        raise DataError(f"expected a header such as user_id:token in {path}; got '{header[:60]}'; name a RecBole file")
    return {name.strip(): kind.strip() for name, _, kind in pairs}, separator


def _fields(settings: Mapping[str, Any]) -> dict[str, str]:
    """What the settings call the columns."""
    keys = {USER: "USER_ID_FIELD", ITEM: "ITEM_ID_FIELD", TIME: "TIME_FIELD"}
    return {column: str(settings.get(key) or column) for column, key in keys.items()}
