"""From an event log to a Dataset: vocabulary, k-core filter, chronological order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from deployrec.data.dataset import Dataset, Int64Array
from deployrec.errors import DataError


@dataclass(frozen=True, eq=False)
class EventLog:
    """Events as a file holds them, before any ordering.

    source      file or name, for error texts
    users       str [M]
    items       str [M]
    times       int64 [M], or None where the file's order is the order in time
    time_unit   "s", "ms", "us" or "ns"; "" where the times tell an order and no more
    catalogue   what is known of the items: item_id (str), title (str), further columns (str); or None
    """

    source: str
    users: pl.Series
    items: pl.Series
    times: Int64Array | None
    time_unit: str = ""
    catalogue: pl.DataFrame | None = None


def build_dataset(log: EventLog, name: str, min_user: int = 1, min_item: int = 1, limit: int | None = None) -> Dataset:
    """Order, filter and number the events of `log`.

    limit      keep the first `limit` users of the log; applied before the filter, so that its counts hold
    min_user   a kept user has at least this many events, and
    min_item   a kept item has at least this many: both repeated until nothing changes (the k-core)

    A user's events are sorted by time; ties stay in the log's order. Repeated events are kept, and noted where user,
    item and time are the same.
    Raises DataError for an empty log, a log of one user or one item, and a filter that leaves none.
    """
    if len(log.users) == 0:
        raise DataError(f"expected at least one event in {log.source}; got an empty log; add events below the header")
    user_ids, user = _codes(log.users)
    item_ids, item = _codes(log.items)
    kept = np.arange(len(user)) if limit is None else np.flatnonzero(user < limit)
    kept = kept[k_core(user[kept], item[kept], min_user, min_item)]
    if len(kept) == 0:
        raise DataError(
            f"expected events left in {log.source} with min_user={min_user} and min_item={min_item}; "
            f"got none of {len(user)}; lower min_user or min_item"
        )
    user, item = user[kept], item[kept]
    times = None if log.times is None else log.times[kept]

    user_kept, user = np.unique(user, return_inverse=True)
    row_items, events = _rows_by_popularity(item)
    for number, what in ((len(user_kept), "users"), (len(row_items), "items")):
        if number < 2:
            raise DataError(
                f"expected at least two {what} in {log.source}; got one; a recommender needs a log of many {what}"
            )
    order = np.argsort(user, kind="stable") if times is None else np.lexsort((times, user))
    return Dataset(
        name=name,
        items=_describe(item_ids[row_items], np.bincount(events)[1:], log.catalogue),
        user_ids=user_ids[user_kept].to_list(),
        offsets=np.concatenate(([0], np.cumsum(np.bincount(user)))),
        events=events[order],
        times=None if times is None else times[order],
        time_unit=log.time_unit,
        unsorted=0 if times is None else _unsorted(user, times),
        notes=() if times is None else _note_repeats(user[order], events[order], times[order]),
    )


def _unsorted(user: Int64Array, times: Int64Array) -> int:
    """Events, in the order of the log, before which it has a later one of the same user."""
    by_user = np.argsort(user, kind="stable")
    log = pl.DataFrame({"user": user[by_user], "time": times[by_user]})
    return int(log.select((pl.col("time") < pl.col("time").cum_max().over("user")).sum()).item())


def _note_repeats(user: Int64Array, item: Int64Array, times: Int64Array) -> tuple[str, ...]:
    """A line that counts the exact repeats among events sorted by user and time, if there are any."""
    as_before = (user[1:] == user[:-1]) & (times[1:] == times[:-1])
    tied = np.append(as_before, False) | np.append(False, as_before)
    events = pl.DataFrame({"user": user[tied], "item": item[tied], "time": times[tied]})
    repeats = events.height - events.n_unique()
    if not repeats:
        return ()
    what = "event repeats" if repeats == 1 else "events repeat"
    return (f"{repeats:,} {what} another exactly (same user, item and time): kept; remove them if they are mistakes",)


def k_core(user: Int64Array, item: Int64Array, min_user: int, min_item: int) -> Int64Array:
    """Positions (ascending) of the events that remain once every user has at least `min_user` events among them
    and every item at least `min_item`: the largest such set, found by removing until nothing changes.

    user, item: int64 [M], codes from 0.
    """
    kept = np.arange(len(user))
    while len(kept):
        u, i = user[kept], item[kept]
        enough = (np.bincount(u)[u] >= min_user) & (np.bincount(i)[i] >= min_item)
        if enough.all():
            break
        kept = kept[enough]
    return kept


def _codes(ids: pl.Series) -> tuple[pl.Series, Int64Array]:
    """Distinct ids in order of first appearance, and each entry's position among them."""
    distinct = ids.unique(maintain_order=True)
    numbered = pl.DataFrame({"id": distinct}).with_row_index("code")
    codes = pl.DataFrame({"id": ids}).join(numbered, on="id", how="left", maintain_order="left")["code"]
    return distinct, codes.to_numpy().astype(np.int64)


def _rows_by_popularity(item: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Item codes in row order (popular first, ties by first appearance) and each event's row, from 1."""
    codes, first, inverse, counts = np.unique(item, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -counts))
    row = np.empty(len(codes), dtype=np.int64)
    row[order] = np.arange(1, len(codes) + 1)
    return codes[order], row[inverse]


def _describe(item_ids: pl.Series, popularity: Int64Array, catalogue: pl.DataFrame | None) -> pl.DataFrame:
    """The items frame: rows of the catalogue where it has them; an item without a title is called by its id."""
    items = pl.DataFrame({"item_id": item_ids})
    if catalogue is None:
        items = items.with_columns(title=pl.col("item_id"))
    else:
        described = catalogue.unique("item_id", keep="first", maintain_order=True)
        items = items.join(described, on="item_id", how="left", maintain_order="left")
        named = pl.col("title").is_not_null() & (pl.col("title") != "")
        items = items.with_columns(title=pl.when(named).then("title").otherwise("item_id"))
    others = [column for column in items.columns if column not in ("item_id", "title")]
    return items.select(
        "item_id",
        "title",
        pl.Series("popularity", popularity),
        *(pl.col(column).fill_null("") for column in others if column != "popularity"),
    )
