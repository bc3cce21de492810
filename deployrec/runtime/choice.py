"""Which items a request may answer with: allowed and forbidden ids, and conditions on the columns of items.csv."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Set
from functools import cached_property
from operator import eq, ge, gt, le, lt, ne
from typing import NamedTuple

import numpy as np

from deployrec.bundle.catalogue import Catalogue
from deployrec.errors import ConfigError, UnknownItemError
from deployrec.runtime.events import id_text, items_of, shown
from deployrec.runtime.where import NUMBER, Compared, evaluate, parse

FEW_LEFT_OUT = 1024
"""Up to so many items are left out by the graphs themselves; see `benchmarks.catalogue`."""
REMEMBERED = 64
"""Filters whose rows are kept."""
ORDERS: dict[str, Callable[..., np.ndarray]] = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}


NO_ROWS = np.zeros(0, np.int32)


class Choice(NamedTuple):
    """The items that a request may answer with."""

    rows: np.ndarray | None
    """int32 [n], rising: only these; None for the whole catalogue"""
    left_out: bytes
    """int32 rows that may not come, as a record's seen items are kept"""


class Choices:
    """Turns what requests name into rows. Columns are read when a filter first asks for them."""

    def __init__(self, catalogue: Catalogue, retired: np.ndarray, strict: bool) -> None:
        """retired: rows int32 [m] that never come; strict: an unknown id in `only` or `exclude` is an error."""
        self._catalogue = catalogue
        self._strict = strict
        self._offered = np.ones(catalogue.num_items + 1, bool)
        self._offered[0] = False
        self._offered[retired] = False
        self._columns: dict[str, Column] = {}
        self._filters: OrderedDict[str, tuple[np.ndarray, Choice]] = OrderedDict()

    def choose(self, exclude: object = None, only: object = None, where: object = None) -> Choice | None:
        """The items that are in `only`, fit `where` and are not in `exclude`; None for all.

        Raises DataError for what is no list of ids, ConfigError for a filter that is none or names an unknown column.
        """
        excluded = NO_ROWS if exclude is None else np.unique(self._rows(exclude, "exclude"))
        if where is None and only is None and len(excluded) <= FEW_LEFT_OUT:
            return Choice(None, excluded.tobytes()) if len(excluded) else None
        mask, choice = self._filtered(where)
        if only is not None:
            rows = np.unique(self._rows(only, "only"))
            choice = Choice(rows[mask[rows]], b"")
        if len(excluded) > FEW_LEFT_OUT:
            mask = self.offered(choice)
            mask[excluded] = False
            return _choice(mask, self._offered)
        return choice._replace(left_out=choice.left_out + excluded.tobytes())

    def offered(self, choice: Choice | None) -> np.ndarray:
        """bool [N + 1]: whether each row may come."""
        if choice is None:
            return self._offered
        if choice.rows is None:
            mask = self._offered.copy()
        else:
            mask = np.zeros_like(self._offered)
            mask[choice.rows] = True
        mask[np.frombuffer(choice.left_out, np.int32)] = False
        return mask

    def candidates(self, items: object) -> tuple[np.ndarray, np.ndarray]:
        """int32 rows [n] of item ids in their order, row 0 for an unknown one (or it is refused); which are known."""
        rows = np.array([self._row(item, "items") for item in items_of(items)], np.int32)
        return rows, rows > 0

    def _rows(self, items: object, name: str) -> np.ndarray:
        """int32 rows of item ids; unknown ones are passed over, or refused."""
        listed = items_of(list(items) if isinstance(items, Set) else items)
        return np.array([row for item in listed if (row := self._row(item, name))], np.int32)

    def _row(self, item: object, name: str) -> int:
        row = self._catalogue.rows.get(item) if type(item) is str else None
        if row is None:
            text = id_text(item, "an item id")
            row = self._catalogue.rows.get(text, 0)
            if not row and self._strict:
                raise UnknownItemError(
                    f"expected items of the catalogue in {name}; got '{text}'; leave it out or choose "
                    'on_unknown_item="skip"'
                )
        return row

    def _filtered(self, where: object) -> tuple[np.ndarray, Choice]:
        """Mask and rows of a filter, None for none; those of the newest filters are kept."""
        if where is None:
            return self._offered, Choice(None, b"")
        if not isinstance(where, str):
            raise ConfigError(f'expected where as a text; got {shown(where)}; write such as "year >= 1990"')
        if found := self._filters.get(where):
            self._filters.move_to_end(where)
            return found
        mask = evaluate(parse(where), self._test) & self._offered
        found = self._filters[where] = mask, _choice(mask, self._offered)
        if len(self._filters) > REMEMBERED:
            self._filters.popitem(last=False)
        return found

    def _test(self, test: Compared) -> np.ndarray:
        if (column := self._columns.get(test.column)) is None:
            column = self._columns[test.column] = Column(self._texts(test.column))
        return column.fits(test)

    def _texts(self, name: str) -> Iterable[str]:
        catalogue = self._catalogue
        own: Mapping[str, Iterable[str]] = {
            "item_id": catalogue.item_ids,
            "title": catalogue.titles,
            "popularity": map(str, catalogue.popularity.tolist()),
        }
        found = catalogue.columns.get(name, own.get(name))
        if found is None:
            known = ", ".join((*own, *catalogue.columns))
            raise ConfigError(f"expected a column of items.csv ({known}) in the filter; got '{name}'; name one of them")
        return found


def _choice(mask: np.ndarray, offered: np.ndarray) -> Choice:
    """The items of a mask: the few left out of what is offered, or all that are in it."""
    gone = np.flatnonzero(mask != offered).astype(np.int32)
    rows = np.flatnonzero(mask).astype(np.int32)
    return Choice(None, gone.tobytes()) if len(gone) <= min(FEW_LEFT_OUT, len(rows)) else Choice(rows, b"")


class Column:
    """A column of items.csv: each distinct text once, and which of them each row holds."""

    def __init__(self, texts: Iterable[str]) -> None:
        places: dict[str, int] = {}
        self._places = np.array([places.setdefault(text, len(places)) for text in texts], np.int32)
        self._texts = list(places)

    @cached_property
    def _numbers(self) -> np.ndarray:
        return np.array(list(map(_number, self._texts)))

    def fits(self, test: Compared) -> np.ndarray:
        """bool [N + 1]: whether each row does."""
        if test.order == "has":
            word = re.compile(rf"(?<!\w){re.escape(str(test.values[0]))}(?!\w)")
            fits = np.array([word.search(text) is not None for text in self._texts])
        else:
            order = ORDERS["==" if test.order == "in" else test.order]
            fits = np.logical_or.reduce([self._compared(order, value) for value in test.values])
        return fits[self._places]

    def _compared(self, order: Callable[..., np.ndarray], value: str | float) -> np.ndarray:
        if isinstance(value, str):
            return np.array([order(text, value) for text in self._texts])
        return order(self._numbers, value)


def _number(text: str) -> float:
    return float(text) if NUMBER.fullmatch(text.strip()) else math.nan
