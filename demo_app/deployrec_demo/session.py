"""One visitor's story as values: every click makes a new `Visit` that remembers the one before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from deployrec.runtime.backends.base import NOTHING
from deployrec_demo.engine import Engine, State


@dataclass(frozen=True)
class Visit:
    """A user after `rows` (item rows, oldest first): user vector [1, D], None without events; state tensors [1, ...].

    `unknown` counts events that were skipped because the catalogue does not know their item.
    """

    state: State
    rows: tuple[int, ...] = ()
    user: np.ndarray | None = None
    unknown: int = 0
    previous: Visit | None = field(default=None, repr=False)

    @property
    def clicked(self) -> bool:
        """Whether the newest move was a click that the model read as one event."""
        return self.previous is not None and len(self.rows) == len(self.previous.rows) + 1


@dataclass(frozen=True)
class Place:
    """One line of the list: rank from 1, and how many places it rose since the moment before (None: not there)."""

    rank: int
    row: int
    score: float
    rose: int | None


def start(engine: Engine, rows: Iterable[int] = ()) -> Visit:
    """A new user, who has read `rows` already."""
    rows = tuple(int(row) for row in rows)
    if not rows:
        return Visit(engine.empty_state())
    found = engine.encode(rows, NOTHING)
    return Visit(found.state, rows, found.user)


def of_items(engine: Engine, items: Iterable[str]) -> Visit:
    """A user who has read these item ids; those that the catalogue does not know are counted and skipped."""
    rows = [engine.catalogue.rows.get(item) for item in items]
    known = [row for row in rows if row is not None]
    return replace(start(engine, known), unknown=len(rows) - len(known))


def click(engine: Engine, visit: Visit, item_id: str) -> Visit:
    """The user interacts with an item, by its own id: one step, or the window read again where a step is not exact."""
    row = engine.catalogue.rows.get(item_id)
    if row is None:
        return replace(visit, unknown=visit.unknown + 1, previous=visit)
    rows = (*visit.rows, row)
    found = engine.after(row, rows, visit.state, NOTHING)
    return Visit(found.state, rows, found.user, visit.unknown, previous=visit)


def undo(visit: Visit) -> Visit:
    """The moment before the last click."""
    return visit.previous or visit


def excluded(engine: Engine, rows: tuple[int, ...], exclude_seen: bool) -> np.ndarray:
    """The user's distinct seen items [1, E], the newest first; a lone 0 for none."""
    if not exclude_seen or not rows:
        return NOTHING
    return np.array([list(dict.fromkeys(reversed(rows)))], np.int64)


def ranked(engine: Engine, visit: Visit, exclude_seen: bool) -> list[tuple[int, float]]:
    """Item rows and scores, as many as the bundle gives; the most popular items for a user without events."""
    if visit.user is None:
        rows, scores = engine.catalogue.most_popular(engine.k)
        return list(zip(rows, scores, strict=True))
    items, found = engine.best(visit.user, excluded(engine, visit.rows, exclude_seen))
    return [(row, score) for row, score in zip(items.tolist(), found.tolist(), strict=True) if row]


def top(engine: Engine, visit: Visit, exclude_seen: bool = True, k: int = 10) -> list[Place]:
    """The k best items, each with how far it moved since the moment before."""
    before = ranked(engine, visit.previous, exclude_seen) if visit.previous else []
    ranks = {row: rank for rank, (row, _) in enumerate(before, 1)}
    return [
        Place(rank, row, score, ranks[row] - rank if row in ranks else None)
        for rank, (row, score) in enumerate(ranked(engine, visit, exclude_seen)[:k], 1)
    ]


@dataclass(frozen=True)
class Without:
    """An event of the history, and the rank of an item for a user who did all but that."""

    row: int
    back: int
    """How many events ago it was; 1 is the newest."""
    rank: int


def why(engine: Engine, visit: Visit, row: int, exclude_seen: bool = True, newest: int = 8) -> list[Without]:
    """Leaves out each of the newest events in turn and reads the rest again: the rank of item `row` then, exactly.

    What is excluded stays as it is, so that only the model's answer differs.
    """
    exclude = excluded(engine, visit.rows, exclude_seen)
    found = []
    for back in range(1, min(newest, len(visit.rows)) + 1):
        place = len(visit.rows) - back
        rest = visit.rows[:place] + visit.rows[place + 1 :]
        if rest:
            found.append(Without(visit.rows[place], back, engine.rank(engine.encode(rest, NOTHING).user, row, exclude)))
    return found


def change(visit: Visit) -> State:
    """State now minus state before the last move, by tensor [...]; empty before the first move."""
    if visit.previous is None:
        return {}
    return {name: (tensor - visit.previous.state[name])[0] for name, tensor in visit.state.items()}
