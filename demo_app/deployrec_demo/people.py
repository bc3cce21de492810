"""Somebody to be: fans of the largest genres, with a short history of their favourites."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from deployrec_demo.engine import Engine

PERSONAS, EVENTS = 3, 8


class Persona(NamedTuple):
    key: str
    name: str
    rows: tuple[int, ...]
    """item rows, oldest first"""


def personas(engine: Engine) -> list[Persona]:
    """A fan of each of the genres with the most events; none where the catalogue has no genres."""
    shelf = engine.shelf
    events: Counter[str] = Counter()
    for row, kinds in enumerate(shelf.kinds):
        events.update(dict.fromkeys(kinds, int(engine.catalogue.popularity[row])))
    fans = []
    for kind, _ in events.most_common(PERSONAS):
        rows = [row for row in shelf.popular if kind in shelf.kinds[row]][:EVENTS]
        fans.append(Persona(kind.lower().replace(" ", "-"), f"{kind} fan", tuple(reversed(rows))))
    return fans
