"""What a user's record says of the events it has read, and what it becomes once further ones are read.

The lists of a record are bytes, which are searched, cut and joined in one call each: a tenth of the time of arrays as
short as most users' are.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from operator import add

import numpy as np

from deployrec.runtime.backends.base import Moved
from deployrec.runtime.events import NO_TIME, Observation
from deployrec.runtime.stores.base import Layout, Rows

REMEMBERED = 8192
"""Newest event ids of a user by which an event that comes again is known."""
HASH_BYTES, ROW_BYTES = 8, 4
HEAD = struct.Struct("<qqq")
"""version, num_events and last_time, with which a record begins."""
FEW = 8
"""Up to so many events are looked up one by one."""


def fresh(event_hashes: bytes, sequences: Mapping[str, int], events: Sequence[Observation]) -> list[bool]:
    """Which of a user's events were not applied before, nor earlier among these.

    Where the record has forgotten its oldest ids, events in front of one that is among the older half of those it knows
    are taken for older ones still: a run that comes again is recognised from its beginning, whatever its length.
    """
    marks = dict(sequences)
    met: set[bytes] = set()
    known = _hashes(event_hashes) if len(events) > FEW else None
    begins = _end_of_forgotten(event_hashes, events)
    found = []
    for place, (_, _, _, event_hash, _, mark) in enumerate(events):
        new = mark is None or marks.get(mark[0], -1) < mark[1]
        if new and event_hash:
            known_before = event_hash in known if known is not None else _find(event_hashes, event_hash) >= 0
            new = not known_before and event_hash not in met and place >= begins
        if new:
            met.add(event_hash)
            if mark is not None:
                marks[mark[0]] = mark[1]
        found.append(new)
    return found


def is_fresh(event_hashes: bytes, sequences: Mapping[str, int], event: Observation) -> bool:
    """Whether the event was not applied before."""
    _, _, _, event_hash, _, mark = event
    if mark is not None and sequences.get(mark[0], -1) >= mark[1]:
        return False
    return not (event_hash and event_hash in event_hashes and _find(event_hashes, event_hash) >= 0)


def fresh_one_each(
    event_hashes: Sequence[bytes], sequences: Sequence[Mapping[str, int]], events: Sequence[Observation]
) -> list[bool]:
    """`is_fresh` of many users and one event of each."""
    return [
        (event[5] is None and not (event[3] and event[3] in known)) or is_fresh(known, marks, event)
        for known, marks, event in zip(event_hashes, sequences, events, strict=True)
    ]


class OneRecord:
    """Memory for one user's record before and after an event, whose columns are looked up once: that is half of what a
    record costs. The graphs read `past` and write `moved` in place."""

    def __init__(self, layout: Layout) -> None:
        before, rows = layout.zeros(1), layout.zeros(1)
        self.fixed, self.past, self.moved = rows.fixed, before.state, Moved(rows.user, rows.state)
        self._before, self._head = before.fixed.view(np.uint8).data, rows.fixed.view(np.uint8).data
        self._window_before, self._window = before.window, rows.window
        self.num_events = 0
        self.late = False
        """whether the event is older than the newest before it"""

    def after(self, rows: Rows, event: Observation) -> Rows:
        """What the one row becomes once the event is read, but for what the graphs answer (see `put`)."""
        row, _, event_id, event_hash, time, mark = event
        self._before[:] = rows.fixed.tobytes()  # faster than between arrays, a view of which costs more than the copy
        version, num_events, last = HEAD.unpack_from(self._before)
        self.num_events = num_events + 1
        self.late = NO_TIME < time < last
        HEAD.pack_into(self._head, 0, version + 1, self.num_events, last if self.late else time)
        if self._window.size:
            self._window[0, :-1], self._window[0, -1] = self._window_before[0, 1:], row
        hashes = rows.event_hashes[0] + event_hash
        return Rows(
            self.fixed,
            [_seen_too(rows.seen[0], row)],
            [hashes if len(hashes) <= HASH_BYTES * REMEMBERED else hashes[HASH_BYTES:]],
            [event_id],
            rows.sequences if mark is None else [{**rows.sequences[0], mark[0]: mark[1]}],
            ((event,),),
            follows=True,
        )

    def put(self, moved: Moved) -> None:
        """Completes the record with what the graphs have answered."""
        self.moved.user[...] = moved.user
        for name, tensor in self.moved.state.items():
            tensor[...] = moved.state[name]


def after(
    rows: Rows, read: Sequence[Sequence[Observation]], window: int, fixed: np.ndarray
) -> tuple[Rows, Sequence[int]]:
    """What the rows become once each user's events are read, in `fixed`, but for what the graphs answer; and how many
    of each user's events are late: older than the newest before them."""
    last = [events[-1] for events in read]
    item_rows, _, event_ids, event_hashes, times, marks = zip(*last, strict=True)
    lengths = list(map(len, read))
    one_each = max(lengths) == 1
    fixed["version"] = rows.version + 1
    fixed["num_events"] = rows.num_events + lengths
    if window:
        for into, before, events in zip(fixed["window"], rows.window, read, strict=True):
            new = [event.row for event in events[-window:]]
            into[: window - len(new)] = before[len(new) :]
            into[window - len(new) :] = new
    if one_each:
        newest = np.array(times, np.int64)
        fixed["last_time"] = np.where(newest == NO_TIME, NO_TIME, np.maximum(newest, rows.last_time))
        late: Sequence[int] = ((newest != NO_TIME) & (newest < rows.last_time)).tolist()
        seen = _seen_one_each(rows.seen, np.array(item_rows, np.int32))
        hashes = list(map(add, rows.event_hashes, event_hashes))
        if max(map(len, hashes)) > HASH_BYTES * REMEMBERED:
            hashes = [own[-HASH_BYTES * REMEMBERED :] for own in hashes]
    else:
        moments = [[event.time for event in events] for events in read]
        fixed["last_time"], late = zip(*map(newest_time, rows.last_time.tolist(), moments), strict=True)
        seen, hashes = list(map(_seen, rows.seen, read)), list(map(_remembered, rows.event_hashes, read))
    marked = any(marks) or not one_each
    found = Rows(
        fixed,
        seen,
        hashes,
        list(event_ids),
        list(map(_marked, rows.sequences, read)) if marked else rows.sequences,
        read,
        follows=True,
    )
    return found, late


def read_on(rows: Rows, histories: Sequence[np.ndarray], window: int) -> None:
    """Moves counts, windows and seen items of the rows on, in place, by item rows int64 [n] that were read; what the
    record knows of applied events stays."""
    rows.num_events[...] += [len(history) for history in histories]
    rows.seen = list(map(_seen_rows, rows.seen, histories))
    if window:
        for into, history in zip(rows.window, histories, strict=True):
            into[...] = np.concatenate((into, history))[-window:]


def newest_time(last: int, times: Sequence[int]) -> tuple[int, int]:
    """A user's last time once events of these times are read in their order, and how many of them are late: they leave
    it where it was. One without a time makes it unknown."""
    late = 0
    for moment in times:
        if NO_TIME < moment < last:
            late += 1
        else:
            last = moment
    return last, late


def _seen_one_each(seen: Sequence[bytes], new: np.ndarray) -> list[bytes]:
    """`_seen` of many users and one item row of each, int32 [B]: all are searched at once."""
    raw = new.tobytes()
    rows = [raw[start : start + ROW_BYTES] for start in range(0, len(raw), ROW_BYTES)]
    after = list(map(add, seen, rows))
    lengths = np.fromiter(map(len, seen), np.int64, len(seen)) // ROW_BYTES
    again = np.flatnonzero(np.frombuffer(b"".join(seen), np.int32) == new.repeat(lengths))
    if again.size:
        ends = lengths.cumsum()
        places = np.searchsorted(ends, again, side="right")
        starts = ROW_BYTES * (again - (ends - lengths)[places])
        for place, at in zip(places.tolist(), starts.tolist(), strict=True):
            after[place] = seen[place][:at] + seen[place][at + ROW_BYTES :] + rows[place]
    return after


def _seen(seen: bytes, events: Sequence[Observation]) -> bytes:
    """Distinct item rows, the latest last, once these are seen too."""
    if len(events) > FEW:
        return _seen_rows(seen, np.fromiter((event.row for event in events), np.int32, len(events)))
    for event in events:
        seen = _seen_too(seen, event.row)
    return seen


def _seen_rows(seen: bytes, rows: np.ndarray) -> bytes:
    newest_first = np.concatenate((np.frombuffer(seen, np.int32), rows.astype(np.int32)))[::-1]
    _, first = np.unique(newest_first, return_index=True)
    return newest_first[np.sort(first)][::-1].tobytes()


def _seen_too(seen: bytes, item_row: int) -> bytes:
    row = item_row.to_bytes(ROW_BYTES, "little")
    at = _find(seen, row)
    return seen + row if at < 0 else seen[:at] + seen[at + ROW_BYTES :] + row


def _remembered(event_hashes: bytes, events: Sequence[Observation]) -> bytes:
    """The newest event hashes once these events are read."""
    return b"".join((event_hashes, *(event.event_hash for event in events)))[-HASH_BYTES * REMEMBERED :]


def _marked(sequences: Mapping[str, int], events: Sequence[Observation]) -> Mapping[str, int]:
    """The highest sequence of each source once these events are read."""
    marks = [event.mark for event in events if event.mark is not None]
    return {**sequences, **dict(marks)} if marks else sequences


def _end_of_forgotten(event_hashes: bytes, events: Sequence[Observation]) -> int:
    """How many of the events, at their beginning, are older than all that the record knows."""
    if len(event_hashes) < HASH_BYTES * REMEMBERED:
        return 0
    older = _hashes(event_hashes[: len(event_hashes) // 2])
    return max((place for place, event in enumerate(events) if event.event_hash in older), default=0)


def _hashes(event_hashes: bytes) -> set[bytes]:
    return {event_hashes[start : start + HASH_BYTES] for start in range(0, len(event_hashes), HASH_BYTES)}


def _find(values: bytes, value: bytes) -> int:
    """Where a value lies among values of its size, -1 for nowhere."""
    # From the end: bytes are found by their last one forwards, by their first one backwards, and rows end in zeros.
    at = values.rfind(value)
    while at > 0 and at % len(value):
        at = values.rfind(value, 0, at + len(value) - 1)
    return at
