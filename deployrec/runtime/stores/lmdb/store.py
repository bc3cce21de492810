"""Users' records in LMDB, most of whose events are written as events: a record is only now and then."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import compress
from typing import cast

import numpy as np

from deployrec.errors import StaleStateError
from deployrec.runtime.durable import DurableStore
from deployrec.runtime.events import Observation
from deployrec.runtime.stores.base import ConflictError, Layout, Rows
from deployrec.runtime.stores.lmdb.cache import Cache, Held
from deployrec.runtime.stores.lmdb.database import Further, LmdbDatabase, Record, database
from deployrec.runtime.stores.lmdb.journal import packed

PIECE = 1000
"""Records that one transaction of `close` writes."""


def load(layout: Layout, address: str) -> DurableStore:
    """Opens "lmdb:PATH", with options as in "lmdb:PATH?history=1000"; makes the folder where there is none.

    Raises ConfigError for a wrong option or place, StoreError for a folder that holds anything else.
    """
    opened = database(address, create=True)
    return JournaledStore(opened, layout) if opened.keeping.most_behind else DurableStore(opened, layout)


class JournaledStore(DurableStore):
    """See `DurableStore`. What makes an event durable is its place in the user's history, with all that is known of it.

    A record is written when its user comes in, once it lies `most_behind` events behind, and when its user goes out of
    the cache. Whoever else reads it reads on from the history.
    """

    database: LmdbDatabase

    def __init__(self, database: LmdbDatabase, layout: Layout) -> None:
        super().__init__(database, layout)
        self._cache = Cache(layout, database.keeping.cache_mb * 2**20)
        self._most_behind = database.keeping.most_behind
        self._closed = False

    def read(self, users: Sequence[str]) -> Rows:
        held = self._cache.held
        if known := [user for user in users if user in held]:
            lives, totals, _, _ = zip(*map(held.__getitem__, known), strict=True)
            current = self.database.are_at(known, lives, totals)
            if not all(current):
                self._cache.drop([user for user, is_current in zip(known, current, strict=True) if not is_current])
                known = list(compress(known, current))
        if not known:
            return super().read(users)
        rows = self._cache.rows(known)
        if len(known) == len(users):
            return rows
        others = [user for user in users if user not in held]
        return _merged(users, known, rows, others, super().read(others))

    def write(self, users: Sequence[str], rows: Rows) -> None:
        held = self._cache.held
        further: list[Further] = []
        whole: list[int] = []
        after: list[Held | None] = []
        for place, (user, version) in enumerate(zip(users, rows.version.tolist(), strict=True)):
            before, events = held.get(user), rows.events[place] if rows.events else ()
            if before is None or before.version + 1 != version or not events or not self._may_wait(before, events):
                whole.append(place)
                after.append(None)
                continue
            life, total, base, known = before
            body = packed(events[0]) if len(events) == 1 else b"".join(map(packed, events))
            further.append(Further(user, life, total, len(events), body))
            after.append(Held(life, total + len(events), base, known + len(events)))
        records = self._records(users, rows, whole, after) if whole else []
        going = self._cache.too_many(set(users))
        lost = self.database.write(self.layout.state_id, records + self._caught_up(going), further)
        self._cache.drop(going)
        kept = [place for place, one in enumerate(after) if one is not None and users[place] not in lost]
        if len(kept) < len(users):
            self._cache.drop([user for user, one in zip(users, after, strict=True) if one is None or user in lost])
            chosen, rows, after = [users[place] for place in kept], rows.take(kept), [after[place] for place in kept]
        else:
            chosen = list(users)
        if kept:
            self._cache.put(chosen, rows, cast(list[Held], after))
        if lost := lost.intersection(users):
            raise ConflictError(sorted(lost))

    def forget(self, users: Sequence[str]) -> int:
        self._cache.drop(users)
        return super().forget(users)

    def close(self) -> None:
        """Writes the records that lie behind, so that nobody has to read on; that they are, whoever is killed knows."""
        if self._closed:
            return
        self._closed = True
        try:
            behind = [user for user, one in self._cache.held.items() if one.is_behind]
            for start in range(0, len(behind), PIECE):
                self.database.write(self.layout.state_id, self._caught_up(behind[start : start + PIECE]), ())
            self.database.fold()
        except StaleStateError:
            pass  # they were dropped
        finally:
            super().close()

    def _ends(self, users: Sequence[str], rows: Rows) -> list[int]:
        held = self._cache.held
        self._totals.update((user, held[user].total) for user in users if user in held)
        return super()._ends(users, rows)

    def _records(
        self, users: Sequence[str], rows: Rows, places: Sequence[int], after: list[Held | None]
    ) -> list[Record]:
        """Records of these places to be written whole, and in `after` what the cache may then hold of them."""
        chosen, own = [users[place] for place in places], rows if len(places) == len(users) else rows.take(places)
        ends = self._ends(chosen, own)
        items = own.read or [()] * len(chosen)
        lives = [0] * len(chosen)
        for number, (place, user) in enumerate(zip(places, chosen, strict=True)):
            if own.events and own.events[number]:
                before = self._cache.held.get(user)
                lives[number] = secrets.randbits(64) | 1 if before is None else before.life
                after[place] = Held(lives[number], ends[number], ends[number], int(own.version[number]))
        return list(map(Record, chosen, self._packed(own, ends), items, lives))

    def _caught_up(self, users: Sequence[str]) -> list[Record]:
        """Whole records of those of the users whose records on disk lie behind the cache's."""
        behind = [user for user in users if user in self._cache.held and self._cache.held[user].is_behind]
        if not behind:
            return []
        rows = self._cache.rows(behind)
        rows.fixed["version"] += 1
        values = self._packed(rows, [self._cache.held[user].total for user in behind])
        return list(map(Record, behind, values))

    def _may_wait(self, before: Held, events: Sequence[Observation]) -> bool:
        """Whether the record may lie behind these events too: others' catalogues may not know items that were added."""
        behind = before.total - before.base + len(events)
        return behind <= self._most_behind and max(event.row for event in events) <= self.layout.num_common


def _merged(users: Sequence[str], some: Sequence[str], rows: Rows, others: Sequence[str], found: Rows) -> Rows:
    """The rows of all users, of which some are here and others there."""
    places = {user: place for place, user in enumerate((*some, *others))}
    order = [places[user] for user in users]
    fixed = np.concatenate((rows.fixed, found.fixed))[order]
    lists = [
        [both[place] for place in order]
        for both in (
            rows.seen + found.seen,
            rows.event_hashes + found.event_hashes,
            rows.last_event_id + found.last_event_id,
            [*rows.sequences, *found.sequences],
        )
    ]
    unread = [*[()] * len(some), *found.unread]
    return Rows(fixed, *lists, unread=[unread[place] for place in order] if found.unread else ())
