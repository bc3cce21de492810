"""Next-item recommendations from a bundle: users' events in, titles and scores out, by the caller's own ids."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.catalogue import Catalogue
from deployrec.bundle.manifest import ITEMS
from deployrec.errors import ConfigError, UnknownItemError
from deployrec.runtime.backends.base import Backend, load_backend
from deployrec.runtime.saved_states import SavedStates
from deployrec.runtime.states import Observation, UserStore, event_hash
from deployrec.runtime.updates import NOTHING, Updates, window_of

Id = str | int
"""A user's, item's or event's own id; 7 and "7" are the same."""


class Recommendation(NamedTuple):
    item_id: str
    title: str
    score: float


class Event(NamedTuple):
    """One interaction; `time` in any unit, it is only handed back."""

    user: Id
    item: Id
    event_id: Id | None = None
    time: float | None = None


@dataclass(frozen=True)
class UserRecord:
    """What is stored of a user: user_vector [D], state tensors without the batch axis."""

    num_events: int
    last_event_id: str | None
    last_time: float | None
    seen: list[str]
    user_vector: np.ndarray
    state: dict[str, np.ndarray]


class Recommender:
    """Keeps a constant-size state per user, moved on by each event. Calls from several threads wait for each other.

    Seen items that a request excludes are the user's newest `manifest.max_exclude` distinct ones.
    `unknown_items` counts the events skipped because the catalogue does not know their item.
    """

    def __init__(self, bundle: Bundle, backend: Backend, on_unknown_item: str = "skip") -> None:
        if on_unknown_item not in ("skip", "error"):
            raise ConfigError(f"expected on_unknown_item 'skip' or 'error'; got '{on_unknown_item}'; name one of them")
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.backend = backend
        self.on_unknown_item = on_unknown_item
        self.unknown_items = 0
        self.max_k = min(self.manifest.top_k, self.manifest.num_items)
        self.catalogue = Catalogue.read(bundle.file(ITEMS), self.manifest.num_items)
        self._popular = self.catalogue.most_popular(self.max_k)
        self._lock = threading.RLock()
        self._use(UserStore(self.manifest, window_of(self.manifest)))

    @classmethod
    def load(
        cls, path: str | Path, backend: str = "onnxruntime", on_unknown_item: str = "skip", **options: object
    ) -> Recommender:
        """Opens a bundle after checking every file's digest.

        on_unknown_item: "skip" (and count) or "error"; `options` go to the backend (onnxruntime: threads, device).
        Raises BundleError for an edited bundle, ConfigError for an unknown backend or option.
        """
        bundle = Bundle.open(path)
        return cls(bundle, load_backend(backend, bundle, **options), on_unknown_item)

    def observe(self, user: Id, item: Id, event_id: Id | None = None, time: float | None = None) -> bool:
        """Reads one event into the user's state; False if it was skipped: an unknown item, or applied before.

        Raises UnknownItemError under on_unknown_item="error".
        """
        with self._lock:
            found = self._new(user, item, event_id, time)
            if found is None:
                return False
            self._updates.one(*found, NOTHING)
            return True

    def observe_and_recommend(
        self,
        user: Id,
        item: Id,
        event_id: Id | None = None,
        time: float | None = None,
        k: int = 10,
        exclude_seen: bool = True,
    ) -> list[Recommendation]:
        """`observe` and `recommend` in one run of the step graph; a skipped event leaves the recommendations alone."""
        self._check_k(k)
        with self._lock:
            found = self._new(user, item, event_id, time)
            if found is None:
                return self.recommend(user, k, exclude_seen)
            slot, observation = found
            exclude = self._seen_after(slot, observation.row) if exclude_seen else NOTHING
            answer = self._updates.one(slot, observation, exclude)
            return self._titled(answer.topk_items[0], answer.topk_scores[0], k)

    def observe_many(self, events: Iterable[Event | tuple]) -> int:
        """Reads events of many users in batches, each user's in the given order; returns how many were applied.

        Under on_unknown_item="error" nothing is applied when any item is unknown.
        """
        with self._lock:
            known = [
                (event, row)
                for event in (Event(*event) for event in events)
                if (row := self._row(event.item)) is not None
            ]
            fresh: dict[int, list[Observation]] = {}
            ids: set[tuple[int, int]] = set()
            for event, row in known:
                slot = self.store.slot(str(event.user))
                observation = _observation(row, event.event_id, event.time)
                if observation.event_hash:
                    key = slot, observation.event_hash
                    if key in ids or self.store.applied(*key):
                        continue
                    ids.add(key)
                fresh.setdefault(slot, []).append(observation)
            self._updates.many(fresh)
            return sum(map(len, fresh.values()))

    def encode_history(self, user: Id, items: Iterable[Id]) -> int:
        """Reads items, oldest first, after what the user's state holds already; returns how many were applied.

        The same as `observe` of each, in a few runs of the encode graph. `forget` the user first to start over.
        """
        with self._lock:
            read = [Observation(row) for item in items if (row := self._row(item)) is not None]
            if read:
                self._updates.histories({self.store.slot(str(user)): read})
            return len(read)

    def recommend(self, user: Id, k: int = 10, exclude_seen: bool = True) -> list[Recommendation]:
        """The k best items for the user as the state stands; the most popular ones for a user without events.

        Fewer where the catalogue holds no more. The score is the model's, or the logarithm of the item's share of all
        interactions. Raises ConfigError for k beyond the bundle's top_k.
        """
        self._check_k(k)
        with self._lock:
            slot = self.store.slots.get(str(user))
            if slot is None or not self.store.arrays["num_events"][slot]:
                rows, scores = self._popular
                return self._titled(np.array(rows, np.int64), np.array(scores), k)
            exclude = self.store.seen(slot)[None].astype(np.int64) if exclude_seen else NOTHING
            items, found = self.backend.score(self.store.arrays["user"][slot : slot + 1], exclude)
            return self._titled(items[0], found[0], k)

    def user(self, user: Id) -> UserRecord | None:
        """Copies of everything stored of the user; None for an unknown one."""
        with self._lock:
            slot = self.store.slots.get(str(user))
            if slot is None:
                return None
            arrays, time = self.store.arrays, float(self.store.arrays["last_time"][slot])
            return UserRecord(
                num_events=int(arrays["num_events"][slot]),
                last_event_id=self.store.last_event_id[slot],
                last_time=None if math.isnan(time) else time,
                seen=[self.catalogue.item_ids[row] for row in self.store.seen(slot)],
                user_vector=arrays["user"][slot].copy(),
                state={name: tensor.copy() for name, tensor in self.store.state(slot).items()},
            )

    def forget(self, user: Id) -> bool:
        """Drops everything stored of the user; False for an unknown one."""
        with self._lock:
            return self.store.forget(str(user))

    def save_states(self, path: str | Path) -> None:
        """Writes all users' states to one file, whole or not at all."""
        with self._lock:
            self.store.save(path)

    def load_states(self, path: str | Path, history: Callable[[str], Iterable[Id]] | None = None) -> None:
        """Replaces all users by those of a file that `save_states` wrote.

        States of another bundle raise StaleStateError, or, with `history` (a user id -> all items, oldest first),
        each user is encoded again; applied event ids stay known. Raises DataError for a broken file.
        """
        saved = SavedStates.read(path)
        store = UserStore(self.manifest, window_of(self.manifest))
        if history is None or saved.bundle_id == self.manifest.bundle_id:
            store.load(saved)
            with self._lock:
                self._use(store)
            return
        read = {
            user: [Observation(row) for item in history(user) if (row := self._row(item)) is not None]
            for user in saved.users
        }
        with self._lock:
            Updates(self.manifest, self.backend, store).histories(
                {store.slot(user): rows for user, rows in read.items()}
            )
            store.adopt_events(saved)
            self._use(store)

    def _use(self, store: UserStore) -> None:
        self.store = store
        self._updates = Updates(self.manifest, self.backend, store)

    def _new(self, user: Id, item: Id, event_id: Id | None, time: float | None) -> tuple[int, Observation] | None:
        """The user's slot and the event to read; None for one to skip."""
        row = self._row(item)
        if row is None:
            return None
        slot = self.store.slot(str(user))
        observation = _observation(row, event_id, time)
        if observation.event_hash and self.store.applied(slot, observation.event_hash):
            return None
        return slot, observation

    def _seen_after(self, slot: int, row: int) -> np.ndarray:
        """Seen item rows [1, E] once `row` is among them."""
        seen = self.store.seen(slot)
        if len(seen) == self.manifest.max_exclude:
            # The new item pushes out the oldest, unless it only moves to the end.
            seen = seen if np.count_nonzero(seen == row) else seen[1:]
        exclude = np.empty((1, len(seen) + 1), np.int64)
        exclude[0, :-1] = seen
        exclude[0, -1] = row
        return exclude

    def _row(self, item: Id) -> int | None:
        row = self.catalogue.rows.get(str(item))
        if row is None:
            if self.on_unknown_item == "error":
                raise UnknownItemError(
                    f"expected an item of the catalogue ({self.manifest.num_items:,} items); got '{item}'; "
                    'leave it out or choose on_unknown_item="skip"'
                )
            self.unknown_items += 1
        return row

    def _check_k(self, k: int) -> None:
        if not 1 <= k <= self.max_k:
            raise ConfigError(
                f"expected k from 1 to {self.max_k}; got {k}; export the bundle with a larger top-k for longer lists"
            )

    def _titled(self, rows: np.ndarray, scores: np.ndarray, k: int) -> list[Recommendation]:
        best = rows[:k].tolist()
        if 0 in best:  # exhausted slots, which sort last
            best = best[: best.index(0)]
        ids, titles = map(self.catalogue.item_ids.__getitem__, best), map(self.catalogue.titles.__getitem__, best)
        return list(map(Recommendation._make, zip(ids, titles, scores[: len(best)].tolist(), strict=True)))


def _observation(row: int, event_id: Id | None, time: float | None) -> Observation:
    if event_id is None:
        return Observation(row, time=time)
    text = str(event_id)
    return Observation(row, text, event_hash(text), time)
