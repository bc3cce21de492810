"""The seam between serving and users' records: what a store does, what a record holds, and how a store is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from deployrec import discovery
from deployrec.bundle.manifest import Manifest
from deployrec.errors import DeployrecError
from deployrec.extras import missing_extra
from deployrec.runtime.events import NO_TIME, Observation
from deployrec.state import StateSpec


class ConflictError(DeployrecError):
    """Records that another process changed between a read and the write: `users` lost and are as that process left
    them; all others of the call are written."""

    def __init__(self, users: Sequence[str]) -> None:
        super().__init__(
            f"expected records of {len(users):,} users as they were read; got newer ones ({users[0]!r} first); "
            "read them again and apply their events anew"
        )
        self.users = list(users)


ITEM_ROWS, NUM_ITEMS = "item_rows", "num_items"
"""In a store's meta: of the newest catalogue that wrote there, where items have been added to the one exported."""
NO_SEQUENCES: Mapping[str, int] = MappingProxyType({})


@dataclass(slots=True)
class Rows:
    """The records of B users, column by column: what has one size for all users in one array, the rest in lists of B.

    What `Store.read` returned may be the store's own memory, valid until its next call: never write into it. A write
    copies the fixed part and keeps the entries of the lists, none of which ever changes.
    """

    fixed: np.ndarray
    """[B] of `layout.dtype`: version, num_events, last_time, user, window and state, read through the properties"""
    seen: list[bytes]
    """int32 [n] of each user: the distinct item rows seen, the latest last (`layout.seen_of` reads them)"""
    event_hashes: list[bytes]
    """uint64 [n] of each user: `event_hash` of the newest applied events that had an id, oldest first"""
    last_event_id: list[str | None]
    sequences: list[Mapping[str, int]]
    """of each user, by source: the highest sequence that was applied"""
    read: Sequence[Sequence[Observation]] = ()
    """for a write, the events that each user's record has read since the one before, oldest first, or () where nobody's
    has: a store that keeps histories appends them"""
    unread: Sequence[Sequence[str]] = ()
    """from a read, the own ids of the items of each user's kept history that the record has not read, oldest first, or
    () where nobody has such: another bundle has served the user, or the record is not written at every event. Such rows
    are a copy, which `Updates` completes."""
    follows: bool = False
    """for a write: every record is the one before, moved on by the events it has `read` and by nothing else"""

    def __len__(self) -> int:
        return len(self.fixed)

    @property
    def version(self) -> np.ndarray:
        """[B] int64: how many writes made the record; 0 for a user who is not there"""
        return self.fixed["version"]

    @property
    def num_events(self) -> np.ndarray:
        """[B] int64: events that the state has read"""
        return self.fixed["num_events"]

    @property
    def last_time(self) -> np.ndarray:
        """[B] int64: the newest event's time in `layout.unit`, NO_TIME where it is unknown"""
        return self.fixed["last_time"]

    @property
    def user(self) -> np.ndarray:
        """[B, D] float32: user vectors"""
        return self.fixed["user"]

    @property
    def window(self) -> np.ndarray:
        """[B, W] int32: the newest item rows with repeats, the newest last, 0 in front of short histories; W is 0 where
        the state alone carries a user on"""
        return self.fixed["window"]

    @property
    def state(self) -> dict[str, np.ndarray]:
        """[B, ...] float32 by tensor name"""
        fixed = self.fixed
        names = fixed.dtype.names or ()
        return {name[len(STATE) :]: fixed[name] for name in names[NUM_PLAIN:]}

    def take(self, places: Sequence[int]) -> Rows:
        """A copy of the rows of these users, in their order."""
        return Rows(
            self.fixed[np.asarray(places, np.int64)],
            [self.seen[place] for place in places],
            [self.event_hashes[place] for place in places],
            [self.last_event_id[place] for place in places],
            [self.sequences[place] for place in places],
            [self.read[place] for place in places] if self.read else (),
            [self.unread[place] for place in places] if self.unread else (),
            self.follows,
        )


PLAIN = ("version", "num_events", "last_time", "user", "window")
NUM_PLAIN = len(PLAIN)
STATE = "state."
"""In front of a state tensor's name in `Layout.dtype`."""


@dataclass(frozen=True)
class Layout:
    """What a record holds that bundles of one `state_id` can read; a store of another layout never serves them."""

    state_id: str
    num_items: int = field(compare=False)
    """of the bundle that the store was opened for: one with added items reads the same records"""
    dim: int
    window: int
    state: StateSpec
    unit: str = ""
    """of `last_time`, as `deployrec.runtime.clock.Clock` has it"""
    num_common: int = field(default=2**31 - 1, compare=False)
    """item rows up to here are in the catalogue of every bundle that reads the records: none of them was added"""

    @classmethod
    def of(cls, manifest: Manifest) -> Layout:
        unit = manifest.time.unit if manifest.time else ""
        num_common = manifest.base.num_items if manifest.base else manifest.num_items
        shape = (manifest.num_items, manifest.dim, manifest.window, manifest.state)
        return cls(manifest.state_id, *shape, unit, num_common)

    @cached_property
    def dtype(self) -> np.dtype:
        """The fixed part of a record: counters, then float32 and int32, little-endian and without gaps."""
        plain: list[tuple[str, str, tuple[int, ...]]] = [
            *(("version", "<i8", ()), ("num_events", "<i8", ()), ("last_time", "<i8", ())),
            *(("user", "<f4", (self.dim,)), ("window", "<i4", (self.window,))),
        ]
        return np.dtype([*plain, *((STATE + tensor.name, "<f4", tensor.shape) for tensor in self.state.tensors)])

    @property
    def record_bytes(self) -> int:
        """Bytes of one record's fixed part."""
        return self.dtype.itemsize

    def zeros(self, batch: int) -> Rows:
        """Users who are not there: no events, a zero state."""
        fixed = np.zeros(batch, self.dtype)
        fixed["last_time"] = NO_TIME
        return Rows(fixed, [b""] * batch, [b""] * batch, [None] * batch, [NO_SEQUENCES] * batch)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "state": self.state.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Layout:
        return cls(**{**data, "state": StateSpec.from_dict(data["state"])})


class Store(Protocol):
    """Users' records of one bundle. Calls come from one thread at a time; other processes may share the records, and
    then `shared`, where a store has it, is true.

    A call that raises leaves every record as it was (ConflictError: those of the users it names). A store is ONE
    module with `load(layout, address) -> Store`, in this folder or behind an entry point of `deployrec.stores`;
    `deployrec.runtime.store_contract` holds the tests that it must pass.
    """

    layout: Layout

    def read(self, users: Sequence[str]) -> Rows:
        """The users' records, each user named once; `layout.zeros` of a user who is not there, and stays so."""

    def write(self, users: Sequence[str], rows: Rows) -> None:
        """Puts whole records in the place of older ones: each `version` is that of the record read, and 1 more.

        Where the store holds another version than the one before, the record stays as it is; once the others are
        written, ConflictError names those users. Version 1 makes a new user.
        """

    def forget(self, users: Sequence[str]) -> int:
        """Drops everything kept of the users; returns how many of them were there."""

    def users(self) -> Iterator[str]:
        """Every user once, in any order; records may come and go meanwhile."""

    def history(self, users: Sequence[str]) -> list[list[str] | None]:
        """The users' own item ids, oldest first; None for every user where the store keeps no histories."""

    def meta(self) -> dict[str, Any]:
        """The JSON object that `set_meta` put beside the records; an empty one before."""

    def set_meta(self, meta: Mapping[str, Any]) -> None:
        """Replaces that object; raises TypeError or ValueError for what JSON cannot hold."""

    def close(self) -> None:
        """Makes everything durable that the store keeps beyond the process; closing twice is no error."""


def load_store(address: str, layout: Layout) -> Store:
    """Opens "NAME" or "NAME:WHERE" by `load(layout, WHERE)` of the store's module, or a folder's path as "lmdb:PATH".

    Raises ConfigError for a name that none has, StaleStateError for records of another bundle.
    """
    module, where = find_store(address)
    store: Store = module.load(layout, where)
    return store


def find_store(address: str) -> tuple[Any, str]:
    """A store's module and what of the address it is given."""
    name, colon, where = address.partition(":")
    if "/" in name or "\\" in name or (not colon and name not in stores() and Path(name).is_dir()):
        name, where = "lmdb", address
    try:
        return discovery.find("stores", name), where
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from None


def stores() -> list[str]:
    """Names of the stores that this installation knows."""
    return discovery.names("stores")
