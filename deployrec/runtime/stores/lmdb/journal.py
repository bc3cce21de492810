"""Events that users' records in an LMDB store have not read yet, with all that is known of them, as bytes.

A user's history is chunks (see `histories`), and the newest events behind them in a journal:

    8      life, uint64: random, another one whenever a record is written that no events lead to
    8      base, uint64: events in the chunks
    4      uint32: events in the journal
    8      float64: seconds since 1970 of its newest event's write
    then of each event
    8      time, int64, as records have it
    4 4 4  uint32: bytes of the item's id, 0 or 1 + those of the event's id, bytes of the sequence
    1 1    bytes of the event id's hash: 8, or 0; the time's unit, a place in UNITS
           the hash, the item's id, the event's id, the sequence as a JSON list [source, number]

A record whose position lies at or behind `base` is completed by the journal: see `deployrec.runtime.records.told`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from deployrec.runtime.clock import Clock
from deployrec.runtime.durable import entry
from deployrec.runtime.events import Observation
from deployrec.time_units import PER_SECOND

HEAD, EVENT = struct.Struct("<QQId"), struct.Struct("<qIIIBB")
UNITS = ("", *PER_SECOND)
CLOCKS = tuple(map(Clock, UNITS))


class Journal(NamedTuple):
    """A user's journal, with what the log still holds of it (see `log`)."""

    life: int
    """0 where nothing was noted of the user but a history"""
    base: int
    events: int
    written: float
    body: bytes
    """its events, end to end"""

    @property
    def total(self) -> int:
        """Events of the user's whole history."""
        return self.base + self.events

    def since(self, place: int, unit: str) -> list[Observation]:
        """The events behind so many of the history, `base` or more, their times in this unit."""
        clock = CLOCKS[UNITS.index(unit)]
        return [
            event if own is clock else event._replace(time=clock.of_kept(own.kept(event.time)))
            for event, own in list(unpacked(self.body))[place - self.base :]
        ]

    def entries(self) -> list[bytes]:
        """The events as histories keep them."""
        return [entry(event.item, own.kept(event.time)) for event, own in unpacked(self.body)]

    def pack(self) -> bytes:
        return HEAD.pack(self.life, self.base, self.events, self.written) + self.body


def packed(event: Observation, unit: str) -> bytes:
    _, item, event_id, event_hash, time, mark = event
    name, counted = item.encode(), UNITS.index(unit)
    if event_id is None and mark is None:
        return EVENT.pack(time, len(name), 0, 0, len(event_hash), counted) + event_hash + name
    text = b"" if event_id is None else event_id.encode()
    sequence = b"" if mark is None else json.dumps(mark).encode()
    sizes = (len(name), 0 if event_id is None else 1 + len(text), len(sequence), len(event_hash))
    return b"".join((EVENT.pack(time, *sizes, counted), event_hash, name, text, sequence))


def unpacked(body: bytes) -> Iterator[tuple[Observation, Clock]]:
    """The events, of row 0: the item's place in a catalogue is not kept; with the clock that their times are of."""
    at = 0
    while at < len(body):
        time, name, text, sequence, hashed, counted = EVENT.unpack_from(body, at)
        ends = [at + EVENT.size]
        for size in (hashed, name, max(0, text - 1), sequence):
            ends.append(ends[-1] + size)
        event_hash, item, event_id, mark = (body[start:end] for start, end in pairwise(ends))
        source = tuple(json.loads(mark)) if mark else None
        event = Observation(0, item.decode(), event_id.decode() if text else None, event_hash, time, source)
        yield event, CLOCKS[counted]
        at = ends[-1]


def skip(body: bytes, events: int) -> bytes:
    """What is left behind so many events."""
    if not events:
        return body
    at = 0
    for _ in range(events):
        _, name, text, sequence, hashed, _ = EVENT.unpack_from(body, at)
        at += EVENT.size + hashed + name + max(0, text - 1) + sequence
    return body[at:]
