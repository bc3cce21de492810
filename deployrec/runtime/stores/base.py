"""The seam between serving and users' records: what a store does, what a record holds, and how a store is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from deployrec import discovery
from deployrec.bundle.manifest import Manifest
from deployrec.errors import DeployrecError
from deployrec.extras import missing_extra
from deployrec.runtime.events import Observation
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


class Record(NamedTuple):
    """What is kept of one user but the tensors. Its arrays never change: a newer record holds others."""

    version: int = 0
    """how many writes made it; 0 for a user who is not there"""
    num_events: int = 0
    """events that the state has read"""
    last_time: float | None = None
    last_event_id: str | None = None
    seen: np.ndarray = np.zeros(0, np.int32)
    """int32 [n]: the distinct item rows that the user has seen, the latest last"""
    event_hashes: np.ndarray = np.zeros(0, np.uint64)
    """uint64 [n]: `event_hash` of every applied event that had an id, oldest first"""


NOBODY = Record()
"""The record of a user who is not there."""


@dataclass(slots=True)
class Rows:
    """The records of B users, and their tensors [B, ...].

    Tensors that `Store.read` returned may be the store's own memory, valid until its next write: put others in their
    place, never write into them. A write copies them.
    """

    records: list[Record]
    user: np.ndarray
    """[B, D] float32: user vectors"""
    window: np.ndarray
    """[B, W] int32: the newest item rows with repeats, the newest last, 0 in front of short histories; W is 0 where
    the state alone carries a user on"""
    state: dict[str, np.ndarray]
    """[B, ...] float32 by tensor name"""
    read: Sequence[Sequence[Observation]] = ()
    """for a write, what each user's record has read since the one before, oldest first, or () where nobody's has: a
    store that keeps histories appends it"""

    def take(self, places: Sequence[int]) -> Rows:
        """The rows of these users, in their order."""
        index = np.asarray(places, np.int64)
        return Rows(
            [self.records[place] for place in places],
            self.user[index],
            self.window[index],
            {name: tensor[index] for name, tensor in self.state.items()},
            [self.read[place] for place in places] if self.read else (),
        )


@dataclass(frozen=True)
class Layout:
    """What a record of one bundle holds; a store of another layout never serves it."""

    bundle_id: str
    num_items: int
    dim: int
    window: int
    state: StateSpec

    @classmethod
    def of(cls, manifest: Manifest) -> Layout:
        return cls(manifest.bundle_id, manifest.num_items, manifest.dim, manifest.window, manifest.state)

    def zeros(self, batch: int) -> Rows:
        """Users who are not there: no events, a zero state."""
        user, window = np.zeros((batch, self.dim), np.float32), np.zeros((batch, self.window), np.int32)
        return Rows([NOBODY] * batch, user, window, self.state.zeros(batch))

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "state": self.state.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Layout:
        return cls(**{**data, "state": StateSpec.from_dict(data["state"])})

    @property
    def bytes(self) -> int:
        """Bytes of one record's tensors: user vector, window and state."""
        return 4 * (self.dim + self.window) + self.state.bytes


class Store(Protocol):
    """Users' records of one bundle. Calls come from one thread at a time; other processes may share the records.

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
