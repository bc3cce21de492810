"""Applies events to users' records: one read of the store, runs of the graphs, one write; anew after a conflict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, compress

import numpy as np

from deployrec.bundle.manifest import Manifest
from deployrec.runtime.backends.base import NOTHING, Backend, Output
from deployrec.runtime.events import Observation
from deployrec.runtime.reader import Reader
from deployrec.runtime.stores.base import ConflictError, Rows, Store

BATCH = 256
"""Users of one call to a graph."""
BATCH_SCORES = 16_000_000
"""Scores that one call may hold in memory: fewer users a call on large catalogues."""
DEEP = 8
"""More new events of one user than this are encoded at once instead of step by step."""
REMEMBERED = 8192
"""Newest event ids by which an event that comes again is known."""
TRIES = 100
"""Conflicts in a row after which an update gives up."""


class Updates:
    """Reads observations into the records of a store. A failing call leaves the users of its batch as they were."""

    def __init__(self, manifest: Manifest, backend: Backend, store: Store) -> None:
        self.backend = backend
        self.store = store
        self.reader = Reader(manifest, backend)
        self.batch = max(1, min(BATCH, BATCH_SCORES // (manifest.num_items + 1)))
        self.row = np.zeros(1, np.int64)

    def one(self, user: str, event: Observation, exclude_seen: bool | None) -> Output | None:
        """Reads one event and answers with what it came to; None for a duplicate.

        exclude_seen: whether the top-k is without seen items; None where it is not wanted.
        """
        users, events, lost = (user,), ((event,),), None
        for _ in range(TRIES):
            rows = self.store.read(users)
            if event.event_hash and holds(rows.event_hashes[0], event.event_hash):
                return None
            after = self._after(rows, events)
            self.row[0] = event.row
            seen = np.frombuffer(after.seen[0], np.int32)[None]
            exclude = None if exclude_seen is None else seen if exclude_seen else NOTHING
            if self.reader.carries(after.num_events.item()):
                found = self.backend.step(self.row, exclude, rows.state)
            else:
                found = self._encode([self.row], rows, exclude)
            try:
                self._write(users, after, found)
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
            fresh = [_fresh(known, events[user]) for user, known in zip(waiting, rows.event_hashes, strict=True)]
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
            after = self._after(rows, read)
            found = move(_histories(read), rows)
            try:
                self._write(waiting, after, found)
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
        before = rows.num_events.tolist()
        anew = [n for n, history in enumerate(histories) if not self.reader.carries(before[n] + len(history))]
        if anew:
            state = {name: tensor.copy() for name, tensor in state.items()}
        for place in anew:
            for tensor in state.values():
                tensor[place] = 0
            kept = rows.window[place, max(0, self.reader.window - before[place]) :]
            reads[place] = self.reader.manifest.newest(np.concatenate([kept, histories[place]]))
        return self.reader.encode(reads, state, exclude)

    def _after(self, rows: Rows, read: Sequence[Sequence[Observation]]) -> Rows:
        """What the rows become once these events are read, but for what the graphs answer."""
        fixed = np.empty(len(rows), rows.fixed.dtype)
        last = [events[-1] for events in read]
        fixed["version"] = rows.version + 1
        fixed["num_events"] = rows.num_events + list(map(len, read))
        fixed["last_time"] = [np.nan if event.time is None else event.time for event in last]
        if width := self.reader.window:
            for window, before, events in zip(fixed["window"], rows.window, read, strict=True):
                new = [event.row for event in events[-width:]]
                window[: width - len(new)] = before[len(new) :]
                window[width - len(new) :] = new
        return Rows(
            fixed,
            list(map(_seen, rows.seen, read)),
            list(map(_remembered, rows.event_hashes, read)),
            [event.event_id for event in last],
            rows.sequences,
            [[event.item for event in events] for events in read],
        )

    def _write(self, users: Sequence[str], after: Rows, found: Output) -> None:
        """Writes the rows with what the graphs have answered."""
        after.user[...] = found.user
        for name, tensor in after.state.items():
            tensor[...] = found.state[name]
        self.store.write(users, after)


def _histories(read: Sequence[Sequence[Observation]]) -> list[np.ndarray]:
    """Each user's item rows int64 [n]."""
    flat = np.array([event.row for events in read for event in events], np.int64)
    return [flat[end - len(events) : end] for events, end in zip(read, accumulate(map(len, read)), strict=True)]


def _fresh(known: bytes, events: Sequence[Observation]) -> list[bool]:
    """Which of the events were not applied before, nor earlier among these."""
    fresh, met = [], set()
    for event in events:
        fresh.append(not event.event_hash or (event.event_hash not in met and not holds(known, event.event_hash)))
        met.add(event.event_hash)
    return fresh


def _remembered(known: bytes, events: Sequence[Observation]) -> bytes:
    """The newest event hashes once these events are read."""
    return b"".join((known, *(event.event_hash for event in events)))[-8 * REMEMBERED :]


def _seen(seen: bytes, events: Sequence[Observation]) -> bytes:
    """Distinct item rows int32, the latest last, once these are seen too."""
    if len(events) <= DEEP:
        for event in events:
            row = event.row.to_bytes(4, "little")
            at = _find(seen, row)
            seen = (seen if at < 0 else seen[:at] + seen[at + 4 :]) + row
        return seen
    newest_first = np.concatenate((np.frombuffer(seen, np.int32), [event.row for event in events]))[::-1]
    _, first = np.unique(newest_first, return_index=True)
    return newest_first[np.sort(first)][::-1].astype(np.int32).tobytes()


def holds(known: bytes, event_hash: bytes) -> bool:
    """Whether the hash is among the known ones."""
    return _find(known, event_hash) >= 0


def _find(values: bytes, value: bytes) -> int:
    """Where a value lies among values of its size, -1 for nowhere."""
    at = values.find(value)
    while at > 0 and at % len(value):
        at = values.find(value, at + 1)
    return at
