"""The user store: every user's state, user vector and newest items, in one growing array per tensor."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deployrec.bundle.manifest import Manifest
from deployrec.errors import DataError, StaleStateError
from deployrec.runtime.saved_states import SavedStates

REMEMBERED_EVENTS = 64
"""Newest event ids kept per user: an event that comes again within that many is known as applied."""


class Observation(NamedTuple):
    """One event of a user, its item as a row of the item table; `time` in the caller's own unit."""

    row: int
    event_id: str | None = None
    event_hash: int = 0
    """`event_hash(event_id)`, 0 without an id"""
    time: float | None = None


def event_hash(event_id: str) -> int:
    """64 bits of the id, never 0, which marks an empty place."""
    return int.from_bytes(hashlib.blake2b(event_id.encode(), digest_size=8).digest(), "little") or 1


class UserStore:
    """Users by slot: place i of every array belongs to one user; arrays double when they are full.

    user [capacity, D]; state.{name} [capacity, ...] for each tensor of the state spec; num_events: how many events
    the state has read; seen [capacity, max_exclude]: distinct item rows, oldest first; window [capacity, window]: the
    newest item rows with repeats, the newest last, for models that must read them again.
    """

    def __init__(self, manifest: Manifest, window: int = 0) -> None:
        self.bundle_id = manifest.bundle_id
        self.num_items = manifest.num_items
        self.width = window
        self.slots: dict[str, int] = {}
        self.free: list[int] = []
        self.last_event_id: list[str | None] = []
        self.state_names = {tensor.name: f"state.{tensor.name}" for tensor in manifest.state.tensors}
        self.arrays: dict[str, np.ndarray] = {
            "user": np.zeros((0, manifest.dim), np.float32),
            "num_events": np.zeros(0, np.int64),
            "seen": np.zeros((0, manifest.max_exclude), np.int32),
            "num_seen": np.zeros(0, np.int32),
            "window": np.zeros((0, window), np.int32),
            "event_hashes": np.zeros((0, REMEMBERED_EVENTS), np.uint64),
            "num_hashes": np.zeros(0, np.int64),
            "last_time": np.zeros(0),
        }
        for tensor in manifest.state.tensors:
            self.arrays[self.state_names[tensor.name]] = np.zeros((0, *tensor.shape), np.float32)

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def bytes(self) -> int:
        """Bytes that the arrays take, room for growth included."""
        return sum(array.nbytes for array in self.arrays.values())

    def slot(self, user: str) -> int:
        """The user's slot; a new user gets one that holds zeros."""
        slot = self.slots.get(user)
        if slot is None:
            slot = self.free.pop() if self.free else len(self.slots)
            if slot == len(self.arrays["user"]):
                self._grow(max(64, 2 * slot))
            self.slots[user] = slot
            self.arrays["last_time"][slot] = math.nan
        return slot

    def forget(self, user: str) -> bool:
        """Drops everything known of the user; False for an unknown one."""
        slot = self.slots.pop(user, None)
        if slot is None:
            return False
        for array in self.arrays.values():
            array[slot] = 0
        self.last_event_id[slot] = None
        self.free.append(slot)
        return True

    def state(self, slots: np.ndarray | slice | int) -> dict[str, np.ndarray]:
        """State tensors [B, ...] of the slots; of one slot, without the batch axis."""
        return {name: self.arrays[key][slots] for name, key in self.state_names.items()}

    def commit(
        self,
        slots: Sequence[int],
        read: Sequence[Sequence[Observation]],
        user: np.ndarray,
        state: Mapping[str, np.ndarray],
    ) -> None:
        """Stores what the users' states are after `read`: user [B, D], state tensors [B, ...]."""
        index = slice(slots[0], slots[0] + 1) if len(slots) == 1 else np.asarray(slots)
        self.arrays["user"][index] = user
        for name, key in self.state_names.items():
            self.arrays[key][index] = state[name]
        for slot, observations in zip(slots, read, strict=True):
            self._note(slot, observations)

    def seen(self, slot: int) -> np.ndarray:
        """Distinct item rows [n] int32 that the user has seen, oldest first."""
        return self.arrays["seen"][slot, : self.arrays["num_seen"][slot]]

    def window(self, slot: int) -> np.ndarray:
        """The newest item rows [n] int32 with repeats, oldest first."""
        window = self.arrays["window"][slot]
        return window[max(0, len(window) - int(self.arrays["num_events"][slot])) :]

    def applied(self, slot: int, event: int) -> bool:
        """Whether the event of that `event_hash` is among the newest remembered ones of the user."""
        return bool(np.count_nonzero(self.arrays["event_hashes"][slot] == event))

    def save(self, path: str | Path) -> None:
        """Writes all users to one file, whole or not at all."""
        slots = np.fromiter(self.slots.values(), np.int64, len(self.slots))
        arrays = {name: array[slots] for name, array in self.arrays.items()}
        SavedStates(self.bundle_id, list(self.slots), [self.last_event_id[slot] for slot in slots], arrays).write(path)

    def load(self, saved: SavedStates) -> None:
        """Replaces all users; nothing changes when the states are refused.

        Raises StaleStateError for states of another bundle and DataError for arrays that do not fit.
        """
        if saved.bundle_id != self.bundle_id:
            raise StaleStateError(
                f"expected states of bundle {self.bundle_id[:12]}; got states of bundle {saved.bundle_id[:12]}; "
                "load them with that bundle, or give the users' histories to encode them again"
            )
        self._check_shapes(saved, self.arrays)
        limits = {"seen": self.num_items, "window": self.num_items, "num_seen": self.arrays["seen"].shape[1]}
        for name, limit in limits.items():
            values = saved.arrays[name]
            if values.size and (values.min() < 0 or values.max() > limit):
                raise DataError(f"expected '{name}' from 0 to {limit}; got other values; save the states again")
        self.arrays = {name: saved.arrays[name] for name in self.arrays}
        self.slots = {user: slot for slot, user in enumerate(saved.users)}
        self.last_event_id = list(saved.last_event_id)
        self.free = []

    def adopt_events(self, saved: SavedStates) -> None:
        """Takes over which events were applied, not the states: for users whose histories were encoded again."""
        names = ("event_hashes", "num_hashes", "last_time")
        self._check_shapes(saved, names)
        slots = np.array([self.slot(user) for user in saved.users], np.int64)
        for name in names:
            self.arrays[name][slots] = saved.arrays[name]
        for slot, event_id in zip(slots, saved.last_event_id, strict=True):
            self.last_event_id[slot] = event_id

    def _check_shapes(self, saved: SavedStates, names: Iterable[str]) -> None:
        for name in names:
            array, got = self.arrays[name], saved.arrays.get(name)
            if got is None or got.dtype != array.dtype or got.shape != (len(saved.users), *array.shape[1:]):
                raise DataError(f"expected '{name}' of every user; got {_shape(got)}; save the states again")

    def _note(self, slot: int, observations: Sequence[Observation]) -> None:
        arrays = self.arrays
        arrays["num_events"][slot] += len(observations)
        if len(observations) == 1:
            self._see(slot, observations[0].row)
        else:
            self._see_all(slot, np.array([observation.row for observation in observations], np.int32))
        for observation in observations:
            if observation.event_hash:
                count = int(arrays["num_hashes"][slot])
                arrays["event_hashes"][slot, count % REMEMBERED_EVENTS] = observation.event_hash
                arrays["num_hashes"][slot] = count + 1
        last = observations[-1]
        self.last_event_id[slot] = last.event_id
        arrays["last_time"][slot] = math.nan if last.time is None else last.time

    def _see(self, slot: int, row: int) -> None:
        """`_see_all` of one row, without building arrays."""
        used = int(self.arrays["num_seen"][slot])
        seen = self.arrays["seen"][slot]
        at = int((seen[:used] == row).argmax()) if used else 0
        if used and seen[at] == row:
            seen[at : used - 1] = seen[at + 1 : used]
            seen[used - 1] = row
        elif used < len(seen):
            seen[used] = row
            self.arrays["num_seen"][slot] = used + 1
        else:
            seen[:-1] = seen[1:]
            seen[-1] = row
        if self.width:
            window = self.arrays["window"][slot]
            window[:-1] = window[1:]
            window[-1] = row

    def _see_all(self, slot: int, rows: np.ndarray) -> None:
        newest_first = np.concatenate([self.seen(slot), rows])[::-1]
        _, first = np.unique(newest_first, return_index=True)
        seen = newest_first[np.sort(first)[: self.arrays["seen"].shape[1]]][::-1]
        self.arrays["seen"][slot, : len(seen)] = seen
        self.arrays["num_seen"][slot] = len(seen)
        if self.width:
            window = self.arrays["window"][slot]
            window[:] = np.concatenate([window, rows])[-self.width :]

    def _grow(self, capacity: int) -> None:
        for name, array in self.arrays.items():
            grown = np.zeros((capacity, *array.shape[1:]), array.dtype)
            grown[: len(array)] = array
            self.arrays[name] = grown
        self.last_event_id += [None] * (capacity - len(self.last_event_id))


def _shape(array: np.ndarray | None) -> str:
    return "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
