"""A user's record as bytes: the same in every durable store, little endian, to be read from any language.

    offset  bytes  what
    0       4      "dRec"
    4       1      format, 1
    5       1      flags: 1, the state is float16
    6       2      0
    8       8      version: unsigned, one more with every write
    16      8      writer: random, the same in all records of one write call
    24      8      seconds since 1970 of the write, float64
    32      8      events that the state has read, unsigned
    40      8      time of the last event, float64; NaN where it had none
    48      4 * 4  unsigned: seen items, event hashes, bytes of the last event's id + 1 (0: it had none), bytes of sources

and then, end to end: the user vector float32 [D], the window int32 [W], the state's tensors in the manifest's order,
float32 or float16, the seen item rows int32, the event hashes uint64, the last event's id in UTF-8, the sources.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from math import prod

import numpy as np

from deployrec.errors import StoreError
from deployrec.runtime.stores.base import Layout, Record, Rows

MAGIC, FORMAT = b"dRec", 1
VERSION, WRITTEN = struct.Struct("<Q"), struct.Struct("<d")
HALF = 1
"""Flag of a record whose state is float16."""
LARGEST_HALF = float(np.finfo(np.float16).max)
HEADER = np.dtype(
    [
        ("magic", "S4"),
        ("format", "u1"),
        ("flags", "u1"),
        ("zero", "<u2"),
        ("version", "<u8"),
        ("writer", "<u8"),
        ("written", "<f8"),
        ("num_events", "<u8"),
        ("last_time", "<f8"),
        ("sizes", "<u4", (4,)),
    ]
)
RAGGED = ("<i4", "<u8", "u1", "u1")
"""What the header's sizes count."""


def pack(layout: Layout, rows: Rows, half: bool, written: float, writer: bytes) -> list[bytes]:
    """The users' records; those whose state float16 cannot hold stay float32."""
    if not half or not layout.state.tensors:
        return _pack(layout, rows, False, written, writer)
    fits = np.array(
        [np.abs(tensor.reshape(len(tensor), -1)).max(1, initial=0) <= LARGEST_HALF for tensor in rows.state.values()]
    ).all(0)
    if fits.all():
        return _pack(layout, rows, True, written, writer)
    values: list[bytes] = [b""] * len(fits)
    for half in (True, False):
        places = np.flatnonzero(fits == half).tolist()
        for place, value in zip(places, _pack(layout, rows.take(places), half, written, writer), strict=True):
            values[place] = value
    return values


def unpack(layout: Layout, users: Sequence[str], values: Sequence[bytes | None]) -> Rows:
    """The rows of these records, zeros for None; StoreError for bytes that are no record of the layout."""
    there = [place for place, value in enumerate(values) if value is not None]
    found = [value for value in values if value is not None]
    rows = layout.zeros(len(values))
    heads = _heads(layout, [users[place] for place in there], found)
    for half in (False, True):
        chosen = np.flatnonzero((heads["flags"] & HALF).astype(bool) == half).tolist()
        if chosen:
            _fill(layout, rows, [there[n] for n in chosen], heads[chosen], [found[n] for n in chosen], half)
    return rows


def replaces(value: bytes, held: bytes | memoryview | None) -> bool:
    """Whether a record is the one after what is held: its version one more, or 1 where nothing is."""
    (version,) = VERSION.unpack_from(value, 8)
    return version == (1 if held is None else VERSION.unpack_from(held, 8)[0] + 1)


def previous_version(value: bytes) -> bytes:
    """The 8 bytes of the version before."""
    return VERSION.pack(VERSION.unpack_from(value, 8)[0] - 1)


def last_write(value: bytes | memoryview) -> float:
    """Seconds since 1970 of the record's write."""
    written: float = WRITTEN.unpack_from(value, 24)[0]
    return written


def is_record(value: bytes | memoryview) -> bool:
    """Whether the bytes begin as a record does."""
    return len(value) >= HEADER.itemsize and bytes(value[:5]) == MAGIC + bytes([FORMAT])


def _pack(layout: Layout, rows: Rows, half: bool, written: float, writer: bytes) -> list[bytes]:
    batch = len(rows.records)
    heads = np.zeros(batch, HEADER)
    heads["magic"], heads["format"], heads["flags"] = MAGIC, FORMAT, HALF if half else 0
    heads["written"], heads["writer"] = written, np.frombuffer(writer, "<u8")
    heads["version"] = [record.version for record in rows.records]
    heads["num_events"] = [record.num_events for record in rows.records]
    heads["last_time"] = [math.nan if record.last_time is None else record.last_time for record in rows.records]
    ids = [None if record.last_event_id is None else record.last_event_id.encode() for record in rows.records]
    heads["sizes"][:, 0] = [len(record.seen) for record in rows.records]
    heads["sizes"][:, 1] = [len(record.event_hashes) for record in rows.records]
    heads["sizes"][:, 2] = [0 if text is None else len(text) + 1 for text in ids]
    dtype = "<f2" if half else "<f4"
    states = [rows.state[tensor.name].astype(dtype, copy=False) for tensor in layout.state.tensors]
    parts = [heads, rows.user.astype("<f4", copy=False), rows.window.astype("<i4", copy=False), *states]
    fixed = np.concatenate([np.ascontiguousarray(part).reshape(batch, -1).view(np.uint8) for part in parts], 1)
    width, body = fixed.shape[1], fixed.tobytes()
    return [
        body[place * width : (place + 1) * width]
        + record.seen.astype("<i4", copy=False).tobytes()
        + record.event_hashes.astype("<u8", copy=False).tobytes()
        + (text or b"")
        for place, (record, text) in enumerate(zip(rows.records, ids, strict=True))
    ]


def _heads(layout: Layout, users: Sequence[str], values: Sequence[bytes]) -> np.ndarray:
    """The headers of whole records of this layout."""
    size = HEADER.itemsize
    blank = bytes(size)
    heads = np.frombuffer(b"".join([value[:size] if len(value) >= size else blank for value in values]), HEADER)
    sound = (heads["magic"] == MAGIC) & (heads["format"] == FORMAT)
    state = np.where(heads["flags"] & HALF, 2, 4) * layout.state.floats
    sizes = heads["sizes"].astype(np.int64)
    sizes[:, 2] -= sizes[:, 2] > 0
    items = np.array([np.dtype(dtype).itemsize for dtype in RAGGED])
    sound &= size + 4 * (layout.dim + layout.window) + state + sizes @ items == [len(value) for value in values]
    if not sound.all():
        user = users[int(np.argmin(sound))]
        raise StoreError(
            f"expected a record of bundle {layout.bundle_id[:12]} for user '{user}'; got other bytes; forget the user"
        )
    return heads


def _fill(
    layout: Layout, rows: Rows, places: list[int], heads: np.ndarray, values: Sequence[bytes], half: bool
) -> None:
    """Puts records of one kind of state at these places of the rows."""
    itemsize = 2 if half else 4
    start = HEADER.itemsize
    shapes = [(tensor.name, tensor.shape) for tensor in layout.state.tensors]
    end = start + 4 * (layout.dim + layout.window) + itemsize * layout.state.floats
    fixed = np.frombuffer(b"".join([value[start:end] for value in values]), np.uint8).reshape(len(values), end - start)
    at = 4 * layout.dim
    rows.user[places] = np.ascontiguousarray(fixed[:, :at]).view("<f4")
    if layout.window:
        rows.window[places] = np.ascontiguousarray(fixed[:, at : at + 4 * layout.window]).view("<i4")
    at += 4 * layout.window
    for name, shape in shapes:
        size = itemsize * prod(shape)
        column = np.ascontiguousarray(fixed[:, at : at + size]).view("<f2" if half else "<f4")
        rows.state[name][places] = column.reshape(len(values), *shape)
        at += size
    for n, place in enumerate(places):
        head, value = heads[n], values[n]
        seen, hashes, text, _ = head["sizes"].tolist()
        after_seen = end + 4 * seen
        after_hashes = after_seen + 8 * hashes
        time = float(head["last_time"])
        rows.records[place] = Record(
            int(head["version"]),
            int(head["num_events"]),
            None if math.isnan(time) else time,
            value[after_hashes : after_hashes + text - 1].decode() if text else None,
            np.frombuffer(value, "<i4", seen, end),
            np.frombuffer(value, "<u8", hashes, after_seen),
        )
