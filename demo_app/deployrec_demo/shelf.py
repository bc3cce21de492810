"""What a visitor can search: titles with the further columns of the catalogue."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from deployrec.bundle.catalogue import Catalogue

MOST_KINDS = 60
"""More distinct values than this are no list to choose from."""
FILED = re.compile(r"^(.+), (The|A|An|Le|La|Les|Il|Der|Die|Das|El)( \([^()]*\))?$")
LONGEST_DETAIL = 60
"""Letters of one column's value that are shown; a description may have thousands."""


@dataclass(frozen=True)
class Shelf:
    """By item row, place 0 being padding: title, details ("Crime, Drama · 2016"), kinds (genres) and search text."""

    titles: list[str]
    details: list[str]
    kinds: list[frozenset[str]]
    texts: list[str]
    popular: list[int]
    """item rows, the most interacted first"""

    @property
    def all_kinds(self) -> list[str]:
        return sorted(frozenset().union(*self.kinds))

    def named(self, row: int) -> str:
        """The title, with the details where they are needed to tell the item from others."""
        same = self.titles.count(self.titles[row]) > 1
        return f"{self.titles[row]} ({self.details[row]}, {row})" if same else self.titles[row]

    def search(self, query: str, kinds: Collection[str] = (), most: int = 8) -> list[int]:
        """Rows with every word of `query` and any of `kinds`: titles that begin with it first, then popular ones."""
        text, wanted = query.lower().strip(), frozenset(kinds)
        words = text.split()
        found = [
            row
            for row in self.popular
            if (not wanted or wanted & self.kinds[row]) and all(word in self.texts[row] for word in words)
        ]
        if text:
            found.sort(key=lambda row: not self.titles[row].lower().startswith(text))
        return found[:most]

    def assortment(self, without: Collection[int], most: int = 8) -> list[int]:
        """The most popular item of each kind, largest kinds first, then other popular ones; none of `without`."""
        sizes = Counter(kind for kinds in self.kinds for kind in kinds)
        left = [row for row in self.popular if row not in without]
        chosen: list[int] = []
        for kind, _ in sizes.most_common(most):
            chosen += [row for row in left if kind in self.kinds[row] and row not in chosen][:1]
        return (chosen + [row for row in left if row not in chosen])[:most]

    @classmethod
    def of(cls, catalogue: Catalogue) -> Shelf:
        """The items of a bundle."""
        columns = dict(catalogue.columns)
        named = next((name for name in columns if re.search("genre|categor|class", name, re.I)), None)
        kinds = _kinds(columns.pop(named)) if named else [frozenset[str]()] * len(catalogue.titles)
        details = [
            " · ".join(filter(None, (", ".join(sorted(kind)), *map(_shortened, values))))
            for kind, *values in zip(kinds, *columns.values(), strict=True)
        ]
        return cls(
            titles=[spoken(title) for title in catalogue.titles],
            details=details,
            kinds=kinds,
            texts=[
                f"{title} {spoken(title)} {detail}".lower()
                for title, detail in zip(catalogue.titles, details, strict=True)
            ],
            popular=sorted(range(1, len(details)), key=lambda row: -int(catalogue.popularity[row])),
        )


def spoken(title: str) -> str:
    """The title as one says it: "Empire Strikes Back, The (1980)" is filed that way, not called so."""
    return FILED.sub(r"\2 \1\3", title)


def _shortened(value: str) -> str:
    return value if len(value) <= LONGEST_DETAIL else value[: LONGEST_DETAIL - 1] + "…"


def _kinds(values: Sequence[str]) -> list[frozenset[str]]:
    """Each value's parts by the separator that leaves the fewest distinct ones; none where those are too many."""
    splits = [
        [frozenset(filter(None, (part.strip() for part in re.split(separator, value)))) for value in values]
        for separator in (r"[|;,]", r"[|;,\s]")
    ]
    best = min(splits, key=lambda parts: len(frozenset().union(*parts)))
    return best if len(frozenset().union(*best)) <= MOST_KINDS else [frozenset()] * len(values)
