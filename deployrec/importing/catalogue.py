"""A file of items whose order counts: line n describes the item that a graph calls n."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from deployrec.data.items import read_facts
from deployrec.data.table import BadRows
from deployrec.errors import DataError


def read_catalogue(path: str | Path) -> pl.DataFrame:
    """item_id, title, popularity 0 and further columns, as `Dataset.items` has them; an item without a title is called
    by its id. DataError for an item that stands twice, or fewer than two."""
    facts = read_facts(path, "item_id", None, BadRows())
    if facts.repeated:
        raise DataError(f"expected every item once in {path}, by whose order the graph numbers them; got some twice")
    if facts.frame.height < 2:
        raise DataError(
            f"expected at least two items in {path}; got {facts.frame.height}; list all that the graph scores"
        )
    named = pl.col("title").is_not_null() & (pl.col("title") != "")
    return facts.frame.select(
        "item_id",
        pl.when(named).then("title").otherwise("item_id").alias("title"),
        pl.lit(0, pl.Int64).alias("popularity"),
        *(pl.col(name).fill_null("") for name in facts.frame.columns if name not in ("item_id", "title")),
    )
