"""Applies events to users' records: reads of the store, runs of the graphs, one write; anew after a conflict."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, compress
from typing import NamedTuple

import numpy as np

from deployrec.bundle.manifest import Manifest
from deployrec.runtime import books
from deployrec.runtime.backends.base import NOTHING, Backend, Moved, TopK, in_place
from deployrec.runtime.choice import Choice
from deployrec.runtime.clock import Clock
from deployrec.runtime.events import Observation
from deployrec.runtime.ranking import Ranking
from deployrec.runtime.reader import Reader
from deployrec.runtime.stores.base import ConflictError, Rows, Store

log = logging.getLogger("deployrec.runtime")

BATCH = 256
"""Users of one call to a graph."""
BATCH_SCORES = 16_000_000
"""Scores that one call may hold in memory: fewer users a call on large catalogues."""
DEEP = 8
"""More new events of one user than this are encoded at once instead of step by step."""
KEPT = 1024
"""Up to so many users the memory of a batch is kept for the next one."""
ONE_APPLIED, NONE_APPLIED = [True], [False]
TRIES = 100
"""Conflicts in a row after which an update gives up."""


class Wanted(NamedTuple):
    """What to recommend: k items, without or with those that the user has seen, of those that may come."""

    k: int
    exclude_seen: bool
    choice: Choice | None = None
    """None: all may come"""
    now: int | None = None
    """the moment of the request, in the unit of the bundle's clock; None: right after each user's last event"""


Best = tuple[list[int], list[float]]
"""Item rows and their scores, the best first; row 0 where there are no more."""


class Updates:
    """Reads observations into the records of a store. A call that fails leaves every user as it was."""

    def __init__(
        self, manifest: Manifest, backend: Backend, store: Store, item_rows: Mapping[str, int], ranking: Ranking
    ) -> None:
        self.store = store
        self.ranking = ranking
        self.item_rows = item_rows
        """of the catalogue, by the items' own ids"""
        self.reader = Reader(manifest, backend)
        self.backend = backend
        self.batch = max(1, min(BATCH, BATCH_SCORES // (manifest.num_items + 1)))
        self._row = np.zeros(1, np.int64)
        self._one = books.OneRecord(store.layout)
        self._in_place = (
            in_place(backend, self._row, self._one.past, self._one.moved) if "step" in manifest.graphs else None
        )
        self._many = store.layout.zeros(0).fixed
        self._num_items = manifest.num_items
        self._clock = Clock(manifest.time.unit, manifest.time.calendar) if manifest.time else None
        self.late_events = 0
        """applied events that are older than one that their user's record had read before them"""
        self._shared = bool(getattr(store, "shared", False))
        self.later_items = 0
        """times that a user's record named an item which another process's catalogue has, and this one has not: it is
        passed over here, and stays in the record"""

    def one(self, user: str, event: Observation, wanted: Wanted | None) -> tuple[bool, Best | None]:
        """Reads one event; answers whether it was applied, and with what is wanted then (None for a duplicate)."""
        users, lost = (user,), None
        for _ in range(TRIES):
            rows = self.read(users)
            if not books.is_fresh(rows.event_hashes[0], rows.sequences[0], event):
                return False, None
            after = self._one.after(rows, event)
            self._row[0] = event.row
            best: TopK | None = None
            if self._in_place is None or (self.reader.window and not self.reader.carries(self._one.num_events)):
                moved = self._encode([self._row], rows)
                self._one.put(moved)
                best = None if wanted is None else self._score(moved.user, after, wanted)
            elif wanted is None:
                self._in_place.advance()
            elif self.ranking.in_graph(wanted.choice):
                best = self._in_place.step(self._excluded(after.seen, wanted), wanted.k, *self._told(after, wanted))
            else:
                self._in_place.advance()
                best = self._score(self._one.moved.user, after, wanted)
            try:
                self.store.write(users, after)
            except ConflictError as error:
                lost = error
                continue
            self.late_events += self._one.late
            return True, None if best is None else (best.items.tolist()[0], best.scores.tolist()[0])
        assert lost is not None
        raise lost

    def many(
        self,
        users: Sequence[str],
        events: Sequence[Sequence[Observation]],
        wanted: Wanted | None = None,
        encode: bool = False,
    ) -> tuple[list[list[bool]], dict[str, Best]]:
        """Reads each user's events in their order; answers which were applied (the others are duplicates), and with
        what is wanted for each user who had such.

        Users with few events go in waves, one event of each user to a run; others, or with `encode` all, through the
        encode graph, users of similar lengths together. All is computed first, then written in one piece.
        """
        applied: list[list[bool]] = [[]] * len(users)
        lists: dict[str, Best] = {}
        late: dict[str, int] = {}
        waiting, lost = list(range(len(users))), None
        if several := max(map(len, events), default=0) > 1:
            waiting.sort(key=lambda place: len(events[place]))
        for _ in range(TRIES):
            fixed = self._fixed(len(waiting))
            moved: list[str] = []
            parts: list[Rows] = []
            for places, move in self._chunks(waiting, events, encode):
                chunk, own = [users[place] for place in places], [events[place] for place in places]
                rows = self.read(chunk)
                if several:
                    flags = list(map(books.fresh, rows.event_hashes, rows.sequences, own))
                else:
                    firsts = [events[0] for events in own]
                    singles = books.fresh_one_each(rows.event_hashes, rows.sequences, firsts)
                    flags = [ONE_APPLIED if fresh else NONE_APPLIED for fresh in singles]
                for place, fresh in zip(places, flags, strict=True):
                    applied[place] = fresh
                live = [number for number, fresh in enumerate(flags) if True in fresh]
                if len(live) < len(chunk):
                    rows, chunk = rows.take(live), [chunk[number] for number in live]
                if not live:
                    continue
                if several:
                    read = [own[n] if all(flags[n]) else list(compress(own[n], flags[n])) for n in live]
                else:
                    read = own if len(live) == len(own) else [own[n] for n in live]
                end = len(moved) + len(live)
                after, late_ones = books.after(rows, read, self.reader.window, fixed[len(moved) : end])
                if any(late_ones):
                    late.update(zip(chunk, late_ones, strict=True))
                best = move(read, rows, after, wanted)
                if best is not None:
                    lists.update(zip(chunk, zip(best.items.tolist(), best.scores.tolist(), strict=True), strict=True))
                moved += chunk
                parts.append(after)
            if not moved:
                break
            try:
                self.store.write(moved, _joined(fixed[: len(moved)], parts))
            except ConflictError as error:
                losers = set(error.users)
                waiting, lost = [place for place in waiting if users[place] in losers], error
                for user in losers:
                    lists.pop(user, None)
                    late.pop(user, None)
                continue
            break
        else:
            assert lost is not None
            raise lost
        self.late_events += sum(late.values())
        return applied, lists

    def read(self, users: Sequence[str]) -> Rows:
        """The users' records, once they have read what other bundles have read of these users (see `Rows.unread`)."""
        rows = self.store.read(users)
        if rows.unread:
            self._read_unread(rows)
        return rows

    def catch_up(self, users: Sequence[str]) -> int:
        """Reads and writes the records of those users who were behind; how many they were."""
        waiting, caught, lost = list(users), 0, None
        for _ in range(TRIES):
            rows = self.store.read(waiting)
            behind = [place for place, items in enumerate(rows.unread) if items]
            if not behind:
                return caught
            rows, chosen = rows.take(behind), [waiting[place] for place in behind]
            self._read_unread(rows)
            rows.fixed["version"] += 1
            try:
                self.store.write(chosen, rows)
            except ConflictError as error:
                caught += len(chosen) - len(error.users)
                waiting, lost = error.users, error
                continue
            return caught + len(chosen)
        assert lost is not None
        raise lost

    def _read_unread(self, rows: Rows) -> None:
        """Encodes into the rows, in place, what they have not read; unknown items are passed over."""
        known = [list(filter(None, map(self.item_rows.get, items))) for items in rows.unread]
        places = sorted((place for place, read in enumerate(known) if read), key=lambda place: len(known[place]))
        for start in range(0, len(places), self.batch):
            part = places[start : start + self.batch]
            before, histories = rows.take(part), [np.array(known[place], np.int64) for place in part]
            moved = self._encode(histories, before)
            books.read_on(before, histories, self.reader.window)
            _put(before, moved)
            rows.fixed[part] = before.fixed
            for place, seen in zip(part, before.seen, strict=True):
                rows.seen[place] = seen
        rows.unread = ()

    def _fixed(self, users: int) -> np.ndarray:
        """Memory for the records of so many users: taking new pages for each batch would cost as much again."""
        if users > KEPT:
            return np.empty(users, self.store.layout.dtype)
        if users > len(self._many):
            self._many = np.empty(users, self.store.layout.dtype)
        return self._many[:users]

    def lists(self, users: Sequence[str], wanted: Wanted) -> Iterator[tuple[str, Best | None]]:
        """What is wanted for each user as the state stands; None for a user without events."""
        for start in range(0, len(users), self.batch):
            chunk = users[start : start + self.batch]
            rows = self.read(chunk)
            best = self._score(rows.user, rows, wanted) if rows.num_events.any() else None
            for place, (user, num_events) in enumerate(zip(chunk, rows.num_events.tolist(), strict=True)):
                if best is None or not num_events:
                    yield user, None
                else:
                    yield user, (best.items[place].tolist(), best.scores[place].tolist())

    def lists_after(self, histories: Sequence[np.ndarray], last_times: Sequence[int], wanted: Wanted) -> list[Best]:
        """What is wanted after each history of item rows int64 [n], none empty, that ended at such a time; nothing is
        read or written."""
        lists: list[Best] = [([], [])] * len(histories)
        order = sorted(range(len(histories)), key=lambda place: len(histories[place]))
        for start in range(0, len(order), self.batch):
            part = order[start : start + self.batch]
            rows, chosen = self.store.layout.zeros(len(part)), [histories[place] for place in part]
            moved = self._encode(chosen, rows)
            books.read_on(rows, chosen, self.reader.window)
            rows.last_time[...] = [last_times[place] for place in part]
            best = self._score(moved.user, rows, wanted)
            for place, items, scores in zip(part, best.items.tolist(), best.scores.tolist(), strict=True):
                lists[place] = (items, scores)
        return lists

    def _chunks(
        self, places: Sequence[int], events: Sequence[Sequence[Observation]], encode: bool
    ) -> Iterator[tuple[Sequence[int], Move]]:
        """The places of users to be read together, who come with ever more events, and how."""
        shallow = 0
        if not encode and not self.reader.window:
            shallow = bisect_right(places, DEEP, key=lambda place: len(events[place]))
        for part, move in ((places[:shallow], self._stepped), (places[shallow:], self._encoded)):
            for start in range(0, len(part), self.batch):
                yield part[start : start + self.batch], move

    def _stepped(
        self, read: Sequence[Sequence[Observation]], rows: Rows, after: Rows, wanted: Wanted | None
    ) -> TopK | None:
        """Moves users on event by event; the last event of each brings what is wanted."""
        by_graph = wanted is not None and self.ranking.in_graph(wanted.choice)
        exclude: np.ndarray | None = None
        told: tuple[np.ndarray] | tuple[()] = ()
        k = 0
        if wanted is not None and by_graph:
            exclude, k, told = self._excluded(after.seen, wanted), wanted.k, self._told(after, wanted)
        best: TopK | None = None
        if max(map(len, read)) == 1:
            items = np.array([events[0][0] for events in read], np.int64)
            moved, best = self.reader.one_each(items, rows.state, exclude, k, *told)
        elif exclude is None:
            moved = self.reader.steps(_histories(read), rows.state)
        else:
            moved, best = self.reader.steps_and_lists(_histories(read), rows.state, exclude, k, *told)
        _put(after, moved)
        return best if wanted is None or by_graph else self._score(after.user, after, wanted)

    def _encoded(
        self, read: Sequence[Sequence[Observation]], rows: Rows, after: Rows, wanted: Wanted | None
    ) -> TopK | None:
        _put(after, self._encode(_histories(read), rows))
        return None if wanted is None else self._score(after.user, after, wanted)

    def _encode(self, histories: list[np.ndarray], rows: Rows) -> Moved:
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
            if self._shared and (later := kept > self._num_items).any():
                self._passed_over(int(np.count_nonzero(later)))
                kept = kept[~later]
            reads[place] = self.reader.manifest.newest(np.concatenate([kept, histories[place]]))
        return self.reader.encode(reads, state)

    def _score(self, user: np.ndarray, rows: Rows, wanted: Wanted) -> TopK:
        among = None if wanted.choice is None else wanted.choice.rows
        return self.ranking.best(user, self._excluded(rows.seen, wanted), wanted.k, among, *self._told(rows, wanted))

    def elapsed(self, rows: Rows, now: int | None) -> np.ndarray | None:
        """What the graphs of a time-aware bundle are told of a request (see `Wanted.now`); None of another."""
        return None if self._clock is None else self._clock.elapsed(rows.last_time, now)

    def _told(self, rows: Rows, wanted: Wanted) -> tuple[np.ndarray] | tuple[()]:
        """`elapsed` as the last of a call's arguments: what knows nothing of time is not told."""
        elapsed = self.elapsed(rows, wanted.now)
        return () if elapsed is None else (elapsed,)

    def _excluded(self, seen: Sequence[bytes], wanted: Wanted) -> np.ndarray:
        """Item rows int32 [B, E] to leave out, padded with 0."""
        rows = _left_out(seen, wanted)
        if not self._shared or not (later := rows > self._num_items).any():
            return rows
        self._passed_over(int(np.count_nonzero(later)))
        return np.where(later, 0, rows)

    def _passed_over(self, rows: int) -> None:
        if rows and not self.later_items:
            log.warning(
                "users have seen items that are not in this process's catalogue: another process serves a bundle with "
                "added items from the same store; they are passed over, load that bundle here too"
            )
        self.later_items += rows


Move = Callable[[Sequence[Sequence[Observation]], Rows, Rows, Wanted | None], TopK | None]


def _left_out(seen: Sequence[bytes], wanted: Wanted) -> np.ndarray:
    if wanted.choice is not None and wanted.choice.left_out:
        seen = [own + wanted.choice.left_out if wanted.exclude_seen else wanted.choice.left_out for own in seen]
    elif not wanted.exclude_seen:
        seen = [b""] * len(seen)
    if len(seen) == 1:
        own = seen[0]
        return np.ndarray((1, len(own) // 4), np.int32, own) if own else NOTHING
    width = max(map(len, seen))
    if not width:
        return NOTHING.repeat(len(seen), 0)
    return np.frombuffer(b"".join([own.ljust(width, b"\0") for own in seen]), np.int32).reshape(len(seen), -1)


def _put(after: Rows, moved: Moved) -> None:
    """Completes records with what the graphs have answered."""
    after.user[...] = moved.user
    for name, tensor in after.state.items():
        tensor[...] = moved.state[name]


def _histories(read: Sequence[Sequence[Observation]]) -> list[np.ndarray]:
    """Each user's item rows int64 [n]."""
    flat = np.array([event.row for events in read for event in events], np.int64)
    return [flat[end - len(events) : end] for events, end in zip(read, accumulate(map(len, read)), strict=True)]


def _joined(fixed: np.ndarray, parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, whose fixed parts lie end to end already."""
    if len(parts) == 1:
        return parts[0]
    columns = ("seen", "event_hashes", "last_event_id", "sequences", "read")
    joined = {name: list(chain.from_iterable(getattr(part, name) for part in parts)) for name in columns}
    return Rows(fixed, **joined, follows=all(part.follows for part in parts))
