"""Next-item recommendations from a bundle: users' events in, titles and scores out, by the caller's own ids."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.catalogue import Catalogue
from deployrec.bundle.manifest import ITEMS
from deployrec.errors import ConfigError, DeployrecError, StaleStateError, UnknownItemError
from deployrec.runtime.backends.base import NOTHING, Backend, load_backend
from deployrec.runtime.events import (
    Event,
    Id,
    Observation,
    Outcome,
    Time,
    event_fields,
    event_hash,
    events_of,
    id_text,
    items_of,
    seconds,
    shown,
)
from deployrec.runtime.stores.base import Layout, Rows, Store, load_store
from deployrec.runtime.stores.file import Snapshot
from deployrec.runtime.stores.memory import MemoryStore
from deployrec.runtime.updates import Updates

USUAL_K = 10
"""How many items a request gets that names no k, where the bundle gives so many."""


class Recommendation(NamedTuple):
    """`item_id` is the caller's own id."""

    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class UserRecord:
    """What is stored of a user: ids of seen items, the latest last; user_vector [D]; state tensors of one user."""

    num_events: int
    last_event_id: str | None
    last_time: float | None
    seen: list[str]
    user_vector: np.ndarray
    state: dict[str, np.ndarray]


class Recommender:
    """Keeps a constant-size state per user, moved on by each event. Calls from several threads wait for each other.

    Users, items and events are named by the caller's own ids, text or whole numbers; 7 and "7" are the same. Everything
    that a call was given is checked before anything is applied. A request leaves out all items that the user has seen.
    `unknown_items` counts the events skipped because the catalogue does not know their item.
    """

    def __init__(
        self, bundle: Bundle, backend: Backend, on_unknown_item: str = "skip", store: Store | None = None
    ) -> None:
        if on_unknown_item not in ("skip", "error"):
            raise ConfigError(f"expected on_unknown_item 'skip' or 'error'; got '{on_unknown_item}'; name one of them")
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.backend = backend
        self.on_unknown_item = on_unknown_item
        self.unknown_items = 0
        self.max_k = min(self.manifest.top_k, self.manifest.num_items)
        self.catalogue = Catalogue.read(bundle.file(ITEMS), self.manifest.num_items)
        layout = Layout.of(self.manifest)
        self.store = MemoryStore(layout) if store is None else store
        if self.store.layout != layout:
            raise StaleStateError(
                f"expected a store of bundle {layout.bundle_id[:12]}; got one of {self.store.layout.bundle_id[:12]}; "
                "open a store for this bundle"
            )
        self._most_popular = self._titled(*self.catalogue.most_popular(self.max_k))
        self._lock = threading.RLock()
        self._updates = Updates(self.manifest, backend, self.store)

    @classmethod
    def load(
        cls,
        path: str | Path,
        backend: str = "onnxruntime",
        on_unknown_item: str = "skip",
        store: str | Store = "memory",
        **options: object,
    ) -> Recommender:
        """Opens a bundle after checking every file's digest.

        store: "memory", "memory:MAX_USERS", "file:PATH" (read now, written by `close`), another store's "NAME:WHERE",
        or an open `Store`; on_unknown_item: "skip" (and count) or "error"; `options` go to the backend (onnxruntime:
        threads, device). Raises BundleError for an edited bundle, ConfigError for an unknown backend, store or option,
        StaleStateError for a store of another bundle.
        """
        bundle = Bundle.open(path)
        opened = load_store(store, Layout.of(bundle.manifest)) if isinstance(store, str) else store
        return cls(bundle, load_backend(backend, bundle, **options), on_unknown_item, opened)

    def __repr__(self) -> str:
        return (
            f"Recommender({self.manifest.model['key']}, {self.manifest.num_items:,} items, "
            f"{type(self.backend).__name__}, {self.store!r})"
        )

    def __enter__(self) -> Recommender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the store: what it keeps beyond the process is then durable."""
        with self._lock:
            self.store.close()

    def observe(self, user: Id, item: Id, event_id: Id | None = None, time: Time | None = None) -> Outcome:
        """Reads one event into the user's state; true where it was applied, else it was skipped (see `Outcome`).

        event_id: an event of an id that the user has had already is a duplicate; time: handed back by `user`.
        Raises DataError for an id or a time that is none, UnknownItemError under on_unknown_item="error".
        """
        with self._lock:
            user, event = id_text(user, "a user id"), self._observation(item, event_id, time)
            if event is None:
                self.unknown_items += 1
                return Outcome.UNKNOWN_ITEM
            return Outcome.DUPLICATE if self._updates.one(user, event, None) is None else Outcome.APPLIED

    def observe_and_recommend(
        self,
        user: Id,
        item: Id,
        event_id: Id | None = None,
        time: Time | None = None,
        k: int | None = None,
        exclude_seen: bool = True,
    ) -> list[Recommendation]:
        """`observe` and `recommend` in one run of the step graph; a skipped event leaves the recommendations alone."""
        k = self._checked_k(k, exclude_seen)
        with self._lock:
            user, event = id_text(user, "a user id"), self._observation(item, event_id, time)
            self.unknown_items += event is None
            found = None if event is None else self._updates.one(user, event, exclude_seen)
            if found is None:
                return self._list(user, k, exclude_seen)
            return self._titled(found.topk_items[0, :k].tolist(), found.topk_scores[0, :k].tolist())

    @overload
    def observe_many(self, events: Iterable[Event | tuple | Mapping[str, Any]]) -> list[Outcome]: ...

    @overload
    def observe_many(
        self, events: Iterable[Event | tuple | Mapping[str, Any]], recommend: int, exclude_seen: bool = True
    ) -> tuple[list[Outcome], dict[str, list[Recommendation]]]: ...

    def observe_many(
        self,
        events: Iterable[Event | tuple | Mapping[str, Any]],
        recommend: int | None = None,
        exclude_seen: bool = True,
    ) -> list[Outcome] | tuple[list[Outcome], dict[str, list[Recommendation]]]:
        """Reads events of many users in batches, each user's in the given order; answers with one outcome per event.

        An event is an Event, a tuple (user, item, event_id, time) or a mapping of these names; the last two may be left
        out. With `recommend=k` the answer is (outcomes, lists): the k best items of each user, by the text of the id,
        as the state stands after the user's last event. One wrong event leaves all users as they were, and so does an
        unknown item under on_unknown_item="error". Raises DataError and UnknownItemError like `observe`.
        """
        k = None if recommend is None else self._checked_k(recommend, exclude_seen)
        with self._lock:
            users, read = self._read(events_of(events))
            self.unknown_items += read.count(None)
            known: dict[str, list[Observation]] = {}
            for user, event in zip(users, read, strict=True):
                if event:
                    known.setdefault(user, []).append(event)
            applied = {user: iter(flags) for user, flags in self._updates.many(known).items()}
            outcomes = [
                (Outcome.APPLIED if next(applied[user]) else Outcome.DUPLICATE) if event else Outcome.UNKNOWN_ITEM
                for user, event in zip(users, read, strict=True)
            ]
            if k is None:
                return outcomes
            named = list(dict.fromkeys(users))
            return outcomes, dict(zip(named, self._lists(named, k, exclude_seen), strict=True))

    def encode_history(self, user: Id, items: Iterable[Id]) -> int:
        """Reads items, oldest first, after what the user's state holds already; returns how many were applied.

        The same as `observe` of each, in a few runs of the encode graph. `forget` the user first to start over.
        Raises DataError for anything but a list of ids (a text is none), and then applies nothing.
        """
        with self._lock:
            user, read = id_text(user, "a user id"), self._history(items)
            if read:
                self._updates.many({user: read}, encode=True)
            return len(read)

    def recommend(self, user: Id, k: int | None = None, exclude_seen: bool = True) -> list[Recommendation]:
        """The k best items for the user as the state stands; the most popular ones for a user without events.

        k: 10 where it is not named, or as many as the bundle gives. Fewer come back where the catalogue holds no more.
        The score is the model's, or the logarithm of the item's share of all interactions. Raises ConfigError for a k
        beyond the bundle's top_k.
        """
        k = self._checked_k(k, exclude_seen)
        with self._lock:
            return self._list(id_text(user, "a user id"), k, exclude_seen)

    def user(self, user: Id) -> UserRecord | None:
        """Copies of everything stored of the user; None for an unknown one."""
        with self._lock:
            rows = self.store.read([id_text(user, "a user id")])
            if not rows.version[0]:
                return None
            time = rows.last_time[0].item()
            return UserRecord(
                num_events=rows.num_events[0].item(),
                last_event_id=rows.last_event_id[0],
                last_time=None if math.isnan(time) else time,
                seen=[self.catalogue.item_ids[row] for row in np.frombuffer(rows.seen[0], np.int32)],
                user_vector=rows.user[0].copy(),
                state={name: tensor[0].copy() for name, tensor in rows.state.items()},
            )

    def forget(self, user: Id) -> bool:
        """Drops everything stored of the user; False for an unknown one."""
        with self._lock:
            return bool(self.store.forget([id_text(user, "a user id")]))

    def save_states(self, path: str | Path) -> None:
        """Writes all users' records to one file, whole or not at all, whatever the store."""
        with self._lock:
            Snapshot.of(self.store).write(path)

    def load_states(self, path: str | Path, history: Callable[[str], Iterable[Id]] | None = None) -> None:
        """Replaces all users by those of a file that `save_states` wrote.

        States of another bundle raise StaleStateError, or, with `history` (a user id -> all items, oldest first),
        each user is encoded again; applied event ids stay known. Raises DataError for a broken file.
        """
        saved, layout = Snapshot.read(path), self.store.layout
        again = history is not None and saved.bundle_id != layout.bundle_id
        rows = saved.events(layout) if again else saved.rows(layout)
        if history is not None and again:
            read = [self._history(history(user)) for user in saved.users]
        with self._lock:
            if again:
                rows = self._encoded(saved.users, rows, read)
            self.store.forget(list(self.store.users()))
            if saved.users:
                self.store.write(saved.users, rows)

    def _encoded(self, users: list[str], rows: Rows, read: list[list[Observation]]) -> Rows:
        """The rows once the events are encoded; which events were applied stays as it was."""
        aside = MemoryStore(self.store.layout)
        if users:
            aside.write(users, rows)
        known = {user: events for user, events in zip(users, read, strict=True) if events}
        Updates(self.manifest, self.backend, aside).many(known, encode=True)
        encoded = aside.read(users)
        encoded.fixed = encoded.fixed.copy()
        encoded.version[...], encoded.last_time[...] = 1, rows.last_time
        encoded.last_event_id = rows.last_event_id
        encoded.read = [[event.item for event in events] for events in read]
        return encoded

    def _read(self, events: list[object]) -> tuple[list[str], list[Observation | None]]:
        """The users and the checked events, None for an unknown item to skip."""
        users, read = [], []
        for place, value in enumerate(events):
            try:
                user, item, event_id, time = event_fields(value)
                users.append(id_text(user, "a user id"))
                read.append(self._observation(item, event_id, time))
            except DeployrecError as error:
                raise type(error)(f"events[{place}]: {error}") from None
        return users, read

    def _observation(self, item: object, event_id: object, time: object) -> Observation | None:
        """The checked event; None for an unknown item to skip."""
        item = id_text(item, "an item id")
        event_id = None if event_id is None else id_text(event_id, "an event id")
        time = None if time is None else seconds(time)
        row = self.catalogue.rows.get(item)
        if row is None:
            if self.on_unknown_item == "error":
                raise UnknownItemError(
                    f"expected an item of the catalogue ({self.manifest.num_items:,} items); got '{item}'; "
                    'leave it out or choose on_unknown_item="skip"'
                )
            return None
        return Observation(row, item, event_id, event_hash(event_id) if event_id else b"", time)

    def _history(self, items: object) -> list[Observation]:
        """The checked items of a history, without unknown ones."""
        read = [self._observation(item, None, None) for item in items_of(items)]
        self.unknown_items += read.count(None)
        return [event for event in read if event]

    def _checked_k(self, k: object, exclude_seen: object) -> int:
        """How many items to answer with, once both are what they must be."""
        if type(k) is int and 1 <= k <= self.max_k and type(exclude_seen) is bool:
            return k
        if not isinstance(exclude_seen, (bool, np.bool)):
            raise ConfigError(f"expected exclude_seen to be True or False; got {shown(exclude_seen)}; give one of them")
        if k is None:
            return min(USUAL_K, self.max_k)
        if isinstance(k, (int, np.integer)) and not isinstance(k, bool):
            # A bundle that gives its whole catalogue answers any k with what there is.
            if 1 <= k <= self.max_k or (k > 0 and self.max_k == self.manifest.num_items):
                return min(int(k), self.max_k)
            raise ConfigError(
                f"expected k from 1 to {self.max_k}; got {k}; export the bundle with a larger top-k for longer lists"
            )
        raise ConfigError(f"expected k as a whole number from 1 to {self.max_k}; got {shown(k)}; give an int")

    def _list(self, user: str, k: int, exclude_seen: bool) -> list[Recommendation]:
        """The k best items of a user as the state stands."""
        rows = self.store.read((user,))
        if not rows.num_events[0]:
            return self._most_popular[:k]
        seen = rows.seen[0]
        exclude = np.frombuffer(seen, np.int32)[None] if exclude_seen and seen else NOTHING
        items, scores = self.backend.score(rows.user, exclude)
        return self._titled(items[0, :k].tolist(), scores[0, :k].tolist())

    def _lists(self, users: Sequence[str], k: int, exclude_seen: bool) -> list[list[Recommendation]]:
        """`_list` of each user, many to a run of the graph."""
        lists = []
        for start in range(0, len(users), self._updates.batch):
            rows = self.store.read(users[start : start + self._updates.batch])
            seen = [np.frombuffer(own, np.int32) if exclude_seen else NOTHING[0] for own in rows.seen]
            exclude = np.zeros((len(seen), max(1, *map(len, seen))), np.int64)
            for line, own in zip(exclude, seen, strict=True):
                line[: len(own)] = own
            items, scores = self.backend.score(rows.user, exclude)
            best = zip(rows.num_events.tolist(), items[:, :k].tolist(), scores[:, :k].tolist(), strict=True)
            lists += [self._titled(*own) if num_events else self._most_popular[:k] for num_events, *own in best]
        return lists

    def _titled(self, rows: list[int], scores: list[float]) -> list[Recommendation]:
        if 0 in rows:  # exhausted slots, which sort last
            rows = rows[: rows.index(0)]
        ids, titles = self.catalogue.item_ids, self.catalogue.titles
        entries = zip(map(ids.__getitem__, rows), map(titles.__getitem__, rows), scores, strict=False)
        # What Recommendation(...) ends in, without its call.
        return list(map(tuple.__new__, repeat(Recommendation), entries))
