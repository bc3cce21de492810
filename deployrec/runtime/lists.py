"""What a request asks for, checked, and its answer by the caller's own ids and titles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, repeat
from typing import NamedTuple

import numpy as np

from deployrec.bundle.catalogue import Catalogue
from deployrec.errors import ConfigError
from deployrec.runtime.choice import Choices
from deployrec.runtime.events import shown
from deployrec.runtime.updates import Best, Wanted

USUAL_K = 10
"""How many items a request gets that names no k."""


class Recommendation(NamedTuple):
    """`item_id` is the caller's own id."""

    item_id: str
    title: str
    score: float


class Lists:
    """Reads requests and names items."""

    def __init__(self, catalogue: Catalogue, choices: Choices, exclude_seen: bool) -> None:
        """`exclude_seen` holds for requests that do not say."""
        self._exclude_seen = exclude_seen
        self._catalogue = catalogue
        self._choices = choices
        self._most_popular: list[Recommendation] = []
        self._popular_k = 0

    def wanted(
        self,
        k: object,
        exclude_seen: object,
        exclude: object = None,
        only: object = None,
        where: object = None,
        now: int | None = None,
    ) -> Wanted:
        """What to answer with, once all are what they must be; now: see `Wanted`."""
        if exclude_seen is None:
            exclude_seen = self._exclude_seen
        plain = exclude is None and only is None and where is None
        choice = None if plain else self._choices.choose(exclude, only, where)
        if type(k) is int and 0 < k <= self._catalogue.num_items and type(exclude_seen) is bool:
            return tuple.__new__(Wanted, (k, exclude_seen, choice, now))  # what Wanted(...) ends in, without its call
        if not isinstance(exclude_seen, (bool, np.bool)):
            raise ConfigError(
                f"expected exclude_seen to be True, False or None; got {shown(exclude_seen)}; give one of them"
            )
        if k is None:
            k = USUAL_K
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
            raise ConfigError(f"expected k as a whole number of at least 1; got {shown(k)}; give an int")
        return Wanted(min(int(k), self._catalogue.num_items), bool(exclude_seen), choice, now)

    def popular(self, wanted: Wanted) -> list[Recommendation]:
        """The most popular items of those that may come."""
        if wanted.choice is not None:
            return self.titled(*self._catalogue.most_popular(wanted.k, self._choices.offered(wanted.choice)))
        if wanted.k > self._popular_k:  # fewer than k may have come back
            found = self._catalogue.most_popular(wanted.k, self._choices.offered(None))
            self._most_popular, self._popular_k = self.titled(*found), wanted.k
        return self._most_popular[: wanted.k]

    def titled(self, rows: list[int], scores: list[float]) -> list[Recommendation]:
        """Rows and their scores, the best first, up to the first exhausted slot."""
        if 0 in rows:  # exhausted slots, which sort last
            rows = rows[: rows.index(0)]
        return self._named(rows, scores)

    def titled_many(self, users: Iterable[str], lists: Sequence[Best]) -> dict[str, list[Recommendation]]:
        """`titled` of many users, in one pass over all their items."""
        rows, scores = list(chain.from_iterable(best[0] for best in lists)), chain.from_iterable(b[1] for b in lists)
        if 0 in rows:
            return {user: self.titled(*best) for user, best in zip(users, lists, strict=True)}
        named, ends = self._named(rows, scores), accumulate(len(best[0]) for best in lists)
        return {user: named[end - len(best[0]) : end] for user, best, end in zip(users, lists, ends, strict=True)}

    def _named(self, rows: list[int], scores: Iterable[float]) -> list[Recommendation]:
        ids, titles = self._catalogue.item_ids, self._catalogue.titles
        entries = zip(map(ids.__getitem__, rows), map(titles.__getitem__, rows), scores, strict=False)
        # What Recommendation(...) ends in, without its call.
        return list(map(tuple.__new__, repeat(Recommendation), entries))
