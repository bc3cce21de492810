"""Applies events to users' records: one read of the store, runs of the graphs, one write; anew after a conflict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, compress

import numpy as np

from deployrec.bundle.manifest import Manifest
from deployrec.runtime.backends.base import NOTHING, Backend, Output
from deployrec.runtime.events import Observation
from deployrec.runtime.reader import Reader
from deployrec.runtime.stores.base import ConflictError, Record, Rows, Store

BATCH = 256
"""Users of one call to a graph."""
BATCH_SCORES = 16_000_000
"""Scores that one call may hold in memory: fewer users a call on large catalogues."""
DEEP = 8
"""More new events of one user than this are encoded at once instead of step by step."""
TRIES = 100
"""Conflicts in a row after which an update gives up."""


class Updates:
    """Reads observations into the records of a store. A failing call leaves the users of its batch as they were."""

    def __init__(self, manifest: Manifest, backend: Backend, store: Store) -> None:
        self.backend = backend
        self.store = store
        self.reader = Reader(manifest, backend)
        self.batch = max(1, min(BATCH, BATCH_SCORES // (manifest.num_items + 1)))
        self.books = _Bookkeeping()
        self.row = np.zeros(1, np.int64)

    def one(self, user: str, event: Observation, exclude_seen: bool | None) -> Output | None:
        """Reads one event and answers with what it came to; None for a duplicate.

        exclude_seen: whether the top-k is without seen items; None where it is not wanted.
        """
        users, lost = (user,), None
        for _ in range(TRIES):
            rows = self.store.read(users)
            record = rows.records[0]
            if self.books.knows(record, event):
                return None
            after = self.books.after(record, (event,))
            self.row[0] = event.row
            exclude = None if exclude_seen is None else after.seen[None] if exclude_seen else NOTHING
            if self.reader.carries(after.num_events):
                found = self.backend.step(self.row, exclude, rows.state)
            else:
                found = self._encode([self.row], rows, exclude)
            try:
                self._write(users, rows, [after], ((event,),), found)
            except ConflictError as error:
                lost = error
                continue
            return found
        assert lost is not None
        raise lost

    def many(self, events: Mapping[str, Sequence[Observation]], encode: bool = False) -> dict[str, list[bool]]:
        """Reads each user's events in their order; answers which were applied: the others are duplicates.

        Users with few events go in waves of steps, one event of each user to a run; others, or with `encode` all,
        through the encode graph, users of similar lengths together.
        """
        applied: dict[str, list[bool]] = {}
        users = sorted(events, key=lambda user: len(events[user]))
        encoded = bool(encode or self.reader.window)
        shallow = [user for user in users if not encoded and len(events[user]) <= DEEP]
        for chosen, move in ((shallow, self._steps), (users[len(shallow) :], self._encode)):
            for start in range(0, len(chosen), self.batch):
                applied |= self._together({user: events[user] for user in chosen[start : start + self.batch]}, move)
        return applied

    def _together(
        self, events: Mapping[str, Sequence[Observation]], move: Callable[[list[np.ndarray], Rows], Output]
    ) -> dict[str, list[bool]]:
        """`many` of one batch."""
        applied: dict[str, list[bool]] = {}
        waiting, lost = list(events), None
        for _ in range(TRIES):
            rows = self.store.read(waiting)
            fresh = list(map(self.books.fresh, rows.records, map(events.__getitem__, waiting)))
            applied.update(zip(waiting, fresh, strict=True))
            live = [place for place, kept in enumerate(fresh) if True in kept]
            if not live:
                return applied
            if len(live) < len(waiting):
                rows, waiting = rows.take(live), [waiting[place] for place in live]
            read = [
                list(compress(events[user], applied[user])) if False in applied[user] else events[user]
                for user in waiting
            ]
            after = list(map(self.books.after, rows.records, read))
            found = move(_histories(read), rows)
            try:
                self._write(waiting, rows, after, read, found)
            except ConflictError as error:
                waiting, lost = error.users, error
                continue
            return applied
        assert lost is not None
        raise lost

    def _steps(self, histories: list[np.ndarray], rows: Rows) -> Output:
        return self.reader.steps(histories, rows.state)

    def _encode(self, histories: list[np.ndarray], rows: Rows, exclude: np.ndarray | None = None) -> Output:
        """Carries each state on, or reads the user's last window from the start where that would not be exact."""
        state, reads = rows.state, list(histories)
        before = [record.num_events for record in rows.records]
        anew = [n for n, history in enumerate(histories) if not self.reader.carries(before[n] + len(history))]
        if anew:
            state = {name: tensor.copy() for name, tensor in state.items()}
        for place in anew:
            for tensor in state.values():
                tensor[place] = 0
            kept = rows.window[place, max(0, self.reader.window - before[place]) :]
            reads[place] = self.reader.manifest.newest(np.concatenate([kept, histories[place]]))
        return self.reader.encode(reads, state, exclude)

    def _write(
        self,
        users: Sequence[str],
        rows: Rows,
        after: list[Record],
        read: Sequence[Sequence[Observation]],
        found: Output,
    ) -> None:
        """Writes what `rows` have become once these events are read."""
        if width := self.reader.window:
            before, rows.window = rows.window, np.empty_like(rows.window)
            for place, events in enumerate(read):
                new = [event.row for event in events[-width:]]
                rows.window[place, : width - len(new)] = before[place, len(new) :]
                rows.window[place, width - len(new) :] = new
        rows.records, rows.user, rows.state, rows.read = after, found.user, found.state, read
        self.store.write(users, rows)


def _histories(read: Sequence[Sequence[Observation]]) -> list[np.ndarray]:
    """Each user's item rows int64 [n]."""
    flat = np.array([event.row for events in read for event in events], np.int64)
    return [flat[end - len(events) : end] for events, end in zip(read, accumulate(map(len, read)), strict=True)]


class _Bookkeeping:
    """What a record becomes once events are read. Not for two threads at once."""

    def __init__(self) -> None:
        # Comparing with an array of no axes takes half the time of comparing with a number.
        self.row = np.zeros((), np.int32)
        self.event_hash = np.zeros((), np.uint64)

    def knows(self, record: Record, event: Observation) -> bool:
        """Whether the event was applied before."""
        if not event.event_hash:
            return False
        self.event_hash[()] = event.event_hash
        return bool(np.count_nonzero(record.event_hashes == self.event_hash))

    def fresh(self, record: Record, events: Sequence[Observation]) -> list[bool]:
        """Which of the events were not applied before, nor earlier among these."""
        if len(events) == 1:
            return [not (events[0].event_hash and self.knows(record, events[0]))]
        known = set(record.event_hashes.tolist())
        fresh = []
        for event in events:
            fresh.append(not event.event_hash or event.event_hash not in known)
            known.add(event.event_hash)
        return fresh

    def after(self, record: Record, events: Sequence[Observation]) -> Record:
        """The record once these events are read."""
        version, num_events, _, _, seen, hashes = record
        last = events[-1]
        if len(events) > DEEP:
            newest_first = np.concatenate((seen, np.array([event.row for event in events], np.int32)))[::-1]
            _, first = np.unique(newest_first, return_index=True)
            seen = newest_first[np.sort(first)][::-1]
            new = [event.event_hash for event in events if event.event_hash]
            hashes = np.concatenate((hashes, np.array(new, np.uint64)))
        else:
            for event in events:
                seen = self.seen(seen, event.row)
                if event.event_hash:
                    hashes = _appended(hashes, event.event_hash)
        return Record(version + 1, num_events + len(events), last.time, last.event_id, seen, hashes)

    def seen(self, rows: np.ndarray, row: int) -> np.ndarray:
        """Distinct item rows, the latest last, once this one is seen too."""
        self.row[()] = row
        again = rows == self.row
        if not np.count_nonzero(again):
            return _appended(rows, row)
        at = int(again.argmax())
        moved = np.empty_like(rows)
        moved[:at] = rows[:at]
        moved[at:-1] = rows[at + 1 :]
        moved[-1] = row
        return moved


def _appended(array: np.ndarray, value: int) -> np.ndarray:
    """`np.append` of one value at a third of its cost."""
    size = len(array)
    longer = np.empty(size + 1, array.dtype)
    longer[:size] = array
    longer[size] = value
    return longer
