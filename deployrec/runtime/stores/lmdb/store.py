"""Users' records in LMDB, most of whose events are written as events: a record is only now and then."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import numpy as np

from deployrec.errors import StaleStateError
from deployrec.runtime.durable import DurableStore
from deployrec.runtime.stores.base import ConflictError, Layout, Rows
from deployrec.runtime.stores.lmdb.cache import Cache, Held, is_behind
from deployrec.runtime.stores.lmdb.database import Further, LmdbDatabase, Record, database
from deployrec.runtime.stores.lmdb.journal import packed
from deployrec.runtime.stores.lmdb.keys import user_key

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
        held, known_at = self._cache.held, self._cache.known_at
        self._cache.mend()
        if held and (known := [user for user in users if user in held]):
            since = self.database.undisturbed_since()
            if unsure := [user for user in known if known_at[user] < since]:
                self._check(unsure)
                known = [user for user in known if user in held]
        else:
            known = []
        if not known:
            return super().read(users)
        rows = self._cache.rows(known)
        if len(known) == len(users):
            return rows
        others = [user for user in users if user not in held]
        return _merged(users, known, rows, others, super().read(others))

    def write(self, users: Sequence[str], rows: Rows) -> None:
        held, known_at, most, now = self._cache.held, self._cache.known_at, self._most_behind, time.time()
        further: list[Further] = []
        whole: list[int] = []
        after: list[Held | None] = [None] * len(users)
        versions, columns = rows.version.tolist(), (rows.follows and rows.read) or [()] * len(users)
        unit = self.layout.unit
        added = max((event.row for events in columns for event in events), default=0) > self.layout.num_common
        for place, (user, version, events) in enumerate(zip(users, versions, columns, strict=True)):
            count = len(events)
            if user not in held or not count:
                whole.append(place)
                continue
            key, life, total, base, known = held[user]
            # Others' catalogues may not know items that were added to this one: they cannot read on over these.
            if added and max(event.row for event in events) > self.layout.num_common:
                whole.append(place)
                continue
            if known + 1 != version or total + count - base > most:
                whole.append(place)
                continue
            body = packed(events[0], unit) if count == 1 else b"".join(packed(event, unit) for event in events)
            further.append((user, key, known_at[user], (life, total, count, now, body)))
            after[place] = (key, life, total + count, base, known + count)
        records = self._records(users, rows, whole, after) if whole else []
        going = self._cache.too_many(users)
        self._cache.begin([*users, *going])
        lost, number = self.database.write(self.layout.state_id, records + self._caught_up(going), further)
        kept = [place for place, one in enumerate(after) if one is not None and users[place] not in lost]
        if going or len(kept) < len(users):
            staying = {users[place] for place in kept}
            self._cache.drop([*going, *(user for user in users if user not in staying)])
        if kept:
            chosen, own = (users, rows) if len(kept) == len(users) else ([users[n] for n in kept], rows.take(kept))
            self._cache.put(chosen, own, [one for n in kept if (one := after[n]) is not None], number)
        self._cache.end()
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
        self._cache.mend()
        try:
            behind = [user for user, one in self._cache.held.items() if is_behind(one)]
            for start in range(0, len(behind), PIECE):
                self.database.write(self.layout.state_id, self._caught_up(behind[start : start + PIECE]), ())
            self.database.fold()
        except StaleStateError:
            pass  # they were dropped
        finally:
            super().close()

    def _check(self, users: Sequence[str]) -> None:
        """Drops those of the users' records from the cache that are no longer the newest."""
        held = self._cache.held
        current, number = self.database.are_at([held[user][:3] for user in users])
        self._cache.known_at.update(dict.fromkeys(users, number))
        self._cache.drop([user for user, is_current in zip(users, current, strict=True) if not is_current])

    def _ends(self, users: Sequence[str], rows: Rows) -> list[int]:
        held = self._cache.held
        self._totals.update((user, held[user][2]) for user in users if user in held)
        return super()._ends(users, rows)

    def _records(
        self, users: Sequence[str], rows: Rows, places: Sequence[int], after: list[Held | None]
    ) -> list[Record]:
        """Records of these places to be written whole, and in `after` what the cache may then hold of them."""
        chosen, own = [users[place] for place in places], rows if len(places) == len(users) else rows.take(places)
        ends = self._ends(chosen, own)
        entries = self._entries(own) or [[] for _ in chosen]
        lives = [0] * len(chosen)
        for number, (place, user) in enumerate(zip(places, chosen, strict=True)):
            if own.follows and own.read[number]:
                before = self._cache.held.get(user)
                lives[number] = secrets.randbits(64) | 1 if before is None else before[1]
                end = ends[number]
                after[place] = (user_key(user), lives[number], end, end, int(own.version[number]))
        return list(map(Record, chosen, self._packed(own, ends), entries, lives))

    def _caught_up(self, users: Sequence[str]) -> list[Record]:
        """Whole records of those of the users whose records on disk lie behind the cache's."""
        held = self._cache.held
        behind = [user for user in users if user in held and is_behind(held[user])]
        if not behind:
            return []
        rows = self._cache.rows(behind)
        rows.fixed["version"] += 1
        values = self._packed(rows, [held[user][2] for user in behind])
        return list(map(Record, behind, values))


def _merged(users: Sequence[str], some: Sequence[str], rows: Rows, others: Sequence[str], found: Rows) -> Rows:
    """The rows of all users, of which some are here and others there."""
    places = {user: place for place, user in enumerate((*some, *others))}
    both = Rows(
        np.concatenate((rows.fixed, found.fixed)),
        rows.seen + found.seen,
        rows.event_hashes + found.event_hashes,
        rows.last_event_id + found.last_event_id,
        [*rows.sequences, *found.sequences],
        unread=[*[()] * len(some), *found.unread] if found.unread else (),
    )
    return both.take([places[user] for user in users])
