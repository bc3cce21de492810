"""A user's record as bytes: the same in every durable store, little-endian, to be read from any language.

    offset  bytes  what
    0       4      "dRec"
    4       1      format, 2
    5       1      flags: 1 where the state is float16
    6       2      0
    8       8      version, uint64: one more with every write
    16      8      writer, uint64: random, the same in all records of one write call
    24      8      float64: seconds since 1970 of the write
    32      8      num_events, uint64: events that the state has read
    40      8      last_time, int64: the newest event's time in the unit of the layout, -2**63 where it is unknown
    48      8      position, uint64: events of the user's kept history that the record has read or passed over
    56      4      uint32 S: seen items
    60      4      uint32 H: event hashes
    64      4      uint32 L: 0 where the newest event had no id, else 1 + the bytes of that id
    68      4      uint32 Q: bytes of the sequences

(hashes, the newest event's id, its time and the sequences may know of events behind the position, which the state, the
user vector, the window, the seen items and num_events have not read: see `told`)

and then, end to end, without gaps:

    4 D     user vector, float32
    4 W     window, int32: the newest item rows, the newest last, 0 in front; W is 0 where the state carries a user on
    4 or 2  each number of the state's tensors in the manifest's order, float32 or float16
    4 S     the distinct item rows seen, int32, the latest last
    8 H     hashes of the newest events that had an id, uint64: BLAKE2b of the id's UTF-8 to 8 bytes, oldest first
    L - 1   the newest event's id, UTF-8
    Q       the sequences, UTF-8: a JSON object of each source's highest sequence, or nothing
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deployrec.errors import StoreError
from deployrec.runtime.books import HASH_BYTES, REMEMBERED, newest_time
from deployrec.runtime.events import Observation
from deployrec.runtime.stores.base import Layout, Rows

MAGIC, FORMAT = b"dRec", 2
HALF = 1
"""Flag of a record whose state is float16."""
LARGEST_HALF = float(np.finfo(np.float16).max)
VERSION, WRITTEN, POSITION = struct.Struct("<Q"), struct.Struct("<d"), struct.Struct("<Q")
LAST_TIME, SIZES = struct.Struct("<q"), struct.Struct("<4I")
HEADER = np.dtype(
    [
        *(("magic", "S4"), ("format", "u1"), ("flags", "u1"), ("zero", "<u2")),
        *(("version", "<i8"), ("writer", "<u8"), ("written", "<f8"), ("num_events", "<i8"), ("last_time", "<i8")),
        *(("position", "<i8"), ("sizes", "<u4", (4,))),
    ]
)
COUNTERS = ("version", "num_events", "last_time")
"""Of the rows' fixed part, what stands in the header."""
HEADER_COPIED = 24
"""Their bytes."""
BEHIND = np.array([4, 8, 1, 1])
"""Bytes of what the header's sizes count."""


class Stamp(NamedTuple):
    """What a record tells of its write."""

    written: float
    """seconds since 1970"""
    writer: int


def pack(layout: Layout, rows: Rows, positions: Sequence[int], stamp: Stamp, half: bool) -> list[bytes]:
    """The users' records at these positions of their histories.

    With `half` the state is float16, but of users whose state float16 cannot hold.
    """
    halves = half & _fits(layout, rows)
    values: list[bytes] = [b""] * len(rows)
    for kind in np.unique(halves):
        places = np.flatnonzero(halves == kind).tolist()
        chosen = rows if len(places) == len(rows) else rows.take(places)
        own = [positions[place] for place in places]
        for place, value in zip(places, _pack(layout, chosen, own, stamp, bool(kind)), strict=True):
            values[place] = value
    return values


def unpack(layout: Layout, users: Sequence[str], values: Sequence[bytes | None]) -> Rows:
    """The rows of these records, zeros for None; StoreError for bytes that are no record of the layout."""
    rows = layout.zeros(len(values))
    there = [place for place, value in enumerate(values) if value is not None]
    found = [value for value in values if value is not None]
    if not there:
        return rows
    heads, bodies = headers(layout, [users[place] for place in there], found)
    raw = rows.fixed.view(np.uint8).reshape(len(rows), -1)
    tensors = raw.shape[1] - 4 * layout.state.floats
    halves = (heads["flags"] & HALF).astype(bool)
    for kind in np.unique(halves):
        chosen = np.flatnonzero(halves == kind)
        places, width = np.array(there)[chosen], bodies[chosen[0]]
        size = HEADER.itemsize
        body = np.frombuffer(b"".join([found[n][size:width] for n in chosen]), np.uint8).reshape(len(chosen), -1)
        plain = tensors - HEADER_COPIED
        raw[places, HEADER_COPIED:tensors] = body[:, :plain]
        state = np.ascontiguousarray(body[:, plain:])
        raw[places, tensors:] = state.view("<f2").astype("<f4").view(np.uint8) if kind else state
    for name in COUNTERS:
        rows.fixed[name][there] = heads[name]
    for place, value, body, sizes in zip(there, found, bodies.tolist(), heads["sizes"].tolist(), strict=True):
        seen, hashes, text, marks = sizes
        after_seen = body + 4 * seen
        after_hashes = after_seen + 8 * hashes
        rows.seen[place], rows.event_hashes[place] = value[body:after_seen], value[after_seen:after_hashes]
        after_text = after_hashes + text - 1 if text else after_hashes
        if text:
            rows.last_event_id[place] = value[after_hashes:after_text].decode()
        if marks:
            rows.sequences[place] = json.loads(value[after_text:])
    return rows


def headers(layout: Layout, users: Sequence[str], values: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """The headers [B] of `HEADER`, and where what has one size for all users ends [B]; StoreError for other bytes."""
    size = HEADER.itemsize
    blank = bytes(size)
    heads = np.frombuffer(b"".join([value[:size] if len(value) >= size else blank for value in values]), HEADER)
    ends = size + 4 * (layout.dim + layout.window) + np.where(heads["flags"] & HALF, 2, 4) * layout.state.floats
    sizes = heads["sizes"].astype(np.int64)
    sizes[:, 2] -= sizes[:, 2] > 0
    sound = (heads["magic"] == MAGIC) & (heads["format"] == FORMAT)
    sound &= ends + sizes @ BEHIND == [len(value) for value in values]
    if not sound.all():
        user = users[int(np.argmin(sound))]
        old = {int(head["format"]) for head in heads if head["magic"] == MAGIC} - {FORMAT}
        got = f"one of format {min(old)}, of another deployrec" if old else "other bytes"
        raise StoreError(
            f"expected a record of states {layout.state_id[:12]} for user '{user}'; got {got}; forget the user"
        )
    return heads, ends


def told(value: bytes, events: Sequence[Observation], written: float) -> bytes:
    """The record once it knows of these events, in its layout's unit, which it has not read: its state and its position
    stay behind them."""
    seen, hashes, text, marks = SIZES.unpack_from(value, 56)
    marks_at = len(value) - marks
    text_at = marks_at - max(0, text - 1)
    hashes_at = text_at - 8 * hashes
    known = (value[hashes_at:text_at] + b"".join(event.event_hash for event in events))[-HASH_BYTES * REMEMBERED :]
    last = events[-1].event_id
    event_id = b"" if last is None else last.encode()
    sequences = value[marks_at:]
    if further := dict(event.mark for event in events if event.mark is not None):
        sequences = json.dumps({**json.loads(sequences or b"{}"), **further}).encode()
    head = bytearray(value[:hashes_at])
    VERSION.pack_into(head, 8, VERSION.unpack_from(value, 8)[0] + len(events))
    WRITTEN.pack_into(head, 24, written)
    (last_time,) = LAST_TIME.unpack_from(value, 40)
    LAST_TIME.pack_into(head, 40, newest_time(last_time, [event.time for event in events])[0])
    text = 0 if last is None else 1 + len(event_id)
    SIZES.pack_into(head, 56, seen, len(known) // HASH_BYTES, text, len(sequences))
    return b"".join((head, known, event_id, sequences))


def version_of(value: bytes | memoryview) -> int:
    """The record's version."""
    version: int = VERSION.unpack_from(value, 8)[0]
    return version


def previous_version(value: bytes) -> bytes:
    """The 8 bytes of the version before."""
    return VERSION.pack(VERSION.unpack_from(value, 8)[0] - 1)


def position(value: bytes | memoryview) -> int:
    """Events of the user's kept history that the record has read or passed over."""
    found: int = POSITION.unpack_from(value, 48)[0]
    return found


def positions(values: Sequence[bytes | None]) -> list[int]:
    """The same of users' records, 0 where there is none, or other bytes."""
    return [position(value) if value is not None and is_record(value) else 0 for value in values]


def last_write(value: bytes | memoryview) -> float:
    """Seconds since 1970 of the record's write."""
    written: float = WRITTEN.unpack_from(value, 24)[0]
    return written


def is_record(value: bytes | memoryview) -> bool:
    """Whether the bytes begin as a record does."""
    return len(value) >= HEADER.itemsize and bytes(value[:5]) == MAGIC + bytes([FORMAT])


def _fits(layout: Layout, rows: Rows) -> np.ndarray:
    """Whether float16 can hold each user's state [B]."""
    fits = np.ones(len(rows), bool)
    for tensor in rows.state.values():
        fits &= np.abs(tensor.reshape(len(rows), -1)).max(1, initial=0) <= LARGEST_HALF
    return fits


def _pack(layout: Layout, rows: Rows, positions: Sequence[int], stamp: Stamp, half: bool) -> list[bytes]:
    heads = np.zeros(len(rows), HEADER)
    heads["magic"], heads["format"], heads["flags"] = MAGIC, FORMAT, HALF * half
    heads["written"], heads["writer"] = stamp
    heads["position"] = positions
    for name in COUNTERS:
        heads[name] = rows.fixed[name]
    texts = [None if text is None else text.encode() for text in rows.last_event_id]
    marks = [json.dumps(dict(each)).encode() if each else b"" for each in rows.sequences]
    heads["sizes"][:, 0] = [len(seen) // 4 for seen in rows.seen]
    heads["sizes"][:, 1] = [len(hashes) // 8 for hashes in rows.event_hashes]
    heads["sizes"][:, 2] = [0 if text is None else len(text) + 1 for text in texts]
    heads["sizes"][:, 3] = [len(text) for text in marks]
    parts = [heads.view(np.uint8).reshape(len(rows), -1)]
    raw = np.ascontiguousarray(rows.fixed).view(np.uint8).reshape(len(rows), -1)
    if half:
        tensors = raw.shape[1] - 4 * layout.state.floats
        state = np.ascontiguousarray(raw[:, tensors:]).view("<f4").astype("<f2").view(np.uint8)
        parts += [raw[:, HEADER_COPIED:tensors], state]
    else:
        parts.append(raw[:, HEADER_COPIED:])
    fixed = np.concatenate(parts, 1)
    width, body = fixed.shape[1], fixed.data.cast("B") if fixed.size else b""
    columns = zip(rows.seen, rows.event_hashes, texts, marks, strict=True)
    return [
        b"".join((body[place * width : (place + 1) * width], seen, hashes, text or b"", mark))
        for place, (seen, hashes, text, mark) in enumerate(columns)
    ]
