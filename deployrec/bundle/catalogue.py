"""items.csv: the user's own item ids, titles, popularity and further columns by item row."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from deployrec.errors import BundleError
from deployrec.files import first_line

COLUMNS = ["item_id", "title", "popularity"]


@dataclass(frozen=True)
class Catalogue:
    """Row i of the item table is `item_ids[i]`; place 0 is padding and holds empty texts.

    item_ids, titles   [N + 1]
    popularity         int64 [N + 1], events of each item
    rows               item id -> row 1..N
    columns            what else is known of the items, by name: texts [N + 1] ("genre" -> ["", "Crime|Drama", ...])
    """

    item_ids: list[str]
    titles: list[str]
    popularity: np.ndarray
    rows: dict[str, int]
    columns: dict[str, list[str]]

    @property
    def num_items(self) -> int:
        return len(self.item_ids) - 1

    @cached_property
    def by_popularity(self) -> np.ndarray:
        """int64 [n]: the item rows that have an interaction, the most interacted first, the lower row among equals."""
        order = np.argsort(-self.popularity, kind="stable")
        return order[self.popularity[order] > 0]

    def most_popular(self, k: int, offered: np.ndarray | None = None) -> tuple[list[int], list[float]]:
        """The k most interacted item rows and the logarithms of their shares; offered: bool [N + 1], which may come.

        Items without a single interaction have no logarithm and are left out.
        """
        order = self.by_popularity
        rows = (order if offered is None else order[offered[order]])[:k].tolist()
        return rows, self.log_shares(rows)

    def log_shares(self, rows: Sequence[int]) -> list[float]:
        """Logarithms of the rows' shares of all interactions; -inf for none."""
        total, counts = int(self.popularity.sum()), self.popularity[rows].tolist()
        return [math.log(count / total) if count else -math.inf for count in counts]

    def item_rows(self, num_items: int | None = None) -> str:
        """Hex digest of which item is which row, of the first `num_items`."""
        ids = self.item_ids if num_items is None else self.item_ids[: num_items + 1]
        return hashlib.sha256(json.dumps(ids).encode()).hexdigest()

    @classmethod
    def parse(cls, content: bytes, path: Path, num_items: int) -> Catalogue:
        """Reads the bytes of items.csv; raises BundleError, which names `path`, where it does not hold `num_items`
        distinct items with their numbers of events."""
        ids, titles, popularity = [""], [""], [0]
        same: dict[str, str] = {}
        try:
            reader = csv.reader(io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline=""))
            header = next(reader, [])
            if header[:3] != COLUMNS:
                raise ValueError(f"the columns {','.join(header)}")
            columns = {name: [""] for name in header[3:]}
            for item_id, title, count, *values in reader:
                ids.append(item_id)
                titles.append(title)
                popularity.append(int(count))
                for column, value in zip(columns.values(), values, strict=True):
                    # Genres and years are few texts in many places: each is kept once.
                    column.append(same.setdefault(value, value))
            if min(popularity) < 0 or sum(popularity) >= 2**63:
                raise ValueError("a popularity below 0 or beyond what 64 bits hold")
        except (ValueError, csv.Error) as error:
            raise BundleError(
                f"expected {','.join(COLUMNS)} in {path}; got {first_line(error)}; export the bundle again"
            ) from None
        rows = {item_id: row for row, item_id in enumerate(ids) if row > 0}
        if len(ids) != num_items + 1 or len(rows) != num_items:
            raise BundleError(
                f"expected {num_items:,} distinct items in {path}; got {len(rows):,}; export the bundle again"
            )
        return cls(ids, titles, np.array(popularity, np.int64), rows, columns)
