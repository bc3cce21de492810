"""Next-item recommendations from a bundle: users' events in, titles and scores out, by the caller's own ids."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import chain, repeat
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.errors import ConfigError, DeployrecError, StaleStateError, UnknownItemError
from deployrec.runtime import forks
from deployrec.runtime.added import check_catalogue, check_items
from deployrec.runtime.backends.base import Backend, load_backend
from deployrec.runtime.books import newest_time
from deployrec.runtime.choice import Choices
from deployrec.runtime.clock import Clock
from deployrec.runtime.events import (
    NO_TIME,
    Event,
    Id,
    Observation,
    Outcome,
    Time,
    event_fields,
    event_hash,
    event_mark,
    events_of,
    id_text,
    items_of,
    shown,
    times_of,
    users_of,
)
from deployrec.runtime.index import Index
from deployrec.runtime.lists import Lists, Recommendation
from deployrec.runtime.ranking import Ranking
from deployrec.runtime.stores.base import Layout, Rows, Store, load_store
from deployrec.runtime.stores.file import Snapshot, blocks_of, write_states
from deployrec.runtime.stores.memory import MemoryStore
from deployrec.runtime.updates import Best, Updates, Wanted

Events = Iterable[Event | Sequence[Any] | Mapping[str, Any]]
"""Events as `observe_many` takes them."""
Method = TypeVar("Method", bound=Callable[..., Any])


def _alone(method: Method) -> Method:
    """Calls from several threads take turns; one from within another is refused, for what it would see is half done."""

    @wraps(method)
    def call(self: Recommender, *arguments: Any, **named: Any) -> Any:
        with self._lock:
            if self._busy.locked():
                raise ConfigError(
                    f"expected one call at a time; got {method.__name__} from within another call (a signal handler or "
                    "a callback); note what is to be done, and do it when that call has returned"
                )
            # A lock rather than a flag: no signal can come between the end of a call and its release.
            with self._busy:
                return method(self, *arguments, **named)

    return cast(Method, call)


@dataclass(frozen=True)
class UserRecord:
    """What is stored of a user: ids of seen items, the latest last; the highest sequence by source ("" for the unnamed
    one); user_vector [D]; state tensors of one user."""

    num_events: int
    last_event_id: str | None
    last_time: int | None
    """in the unit of the bundle's log, see `deployrec.runtime.events.Time`; None where it is unknown"""
    seen: list[str]
    sequences: dict[str, int]
    user_vector: np.ndarray
    state: dict[str, np.ndarray]


class Recommender:
    """Keeps a constant-size state per user, moved on by each event. Calls from several threads wait for each other.

    Users, items and events are named by the caller's own ids, text or whole numbers; 7 and "7" are the same. Everything
    that a call was given is checked before anything is applied. A request leaves out all items that the user has seen.
    `unknown_items` counts the events skipped because the catalogue does not know their item.
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        on_unknown_item: str = "skip",
        store: Store | None = None,
        exact: bool = False,
    ) -> None:
        if on_unknown_item not in ("skip", "error"):
            raise ConfigError(f"expected on_unknown_item 'skip' or 'error'; got '{on_unknown_item}'; name one of them")
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.backend = backend
        self.on_unknown_item = on_unknown_item
        self.unknown_items = 0
        self.catalogue = bundle.catalogue()
        layout = Layout.of(self.manifest)
        self.clock = Clock(layout.unit)
        self.store = MemoryStore(layout) if store is None else store
        if self.store.layout != layout:
            raise StaleStateError(
                f"expected a store of states {layout.state_id[:12]}; got one of {self.store.layout.state_id[:12]}; "
                "open a store for this bundle"
            )
        check_catalogue(self.manifest, self.store)
        self._lock = threading.RLock()
        self._busy = threading.Lock()
        forks.watch(self)
        retired = bundle.retired(self.catalogue)
        self._ranking = Ranking(bundle, backend, retired, None if exact else Index.load(bundle))
        self._choices = Choices(self.catalogue, retired, strict=on_unknown_item == "error")
        self._answers = Lists(self.catalogue, self._choices, bundle.manifest.exclude_seen)
        self._updates = Updates(self.manifest, backend, self.store, self.catalogue.rows, self._ranking)

    @classmethod
    def load(
        cls,
        path: str | Path,
        backend: str = "onnxruntime",
        on_unknown_item: str = "skip",
        store: str | Store = "memory",
        trusted: Sequence[str | Path] | None = None,
        exact: bool = False,
        **options: object,
    ) -> Recommender:
        """Opens a bundle after checking every file's digest.

        store: "memory", "memory:MAX_USERS", "file:PATH" (read now, written by `close`), another store's "NAME:WHERE",
        or an open `Store`; on_unknown_item: "skip" (and count) or "error"; trusted: public keys, one of which must
        have signed the bundle; exact: all items are scored although the bundle has an index; `options` go to the
        backend (onnxruntime: threads, device). Raises BundleError for an edited bundle or one that no trusted key has
        signed, ConfigError for an unknown backend, store or option and for an index without its library,
        StaleStateError for a store of another bundle.
        """
        bundle = Bundle.open(path, trusted=trusted)
        if not isinstance(store, str) and not hasattr(store, "layout"):
            raise ConfigError(f"expected a store or its address; got {shown(store)}; pass a text such as 'memory'")
        opened = load_store(store, Layout.of(bundle.manifest)) if isinstance(store, str) else store
        return cls(bundle, load_backend(backend, bundle, **options), on_unknown_item, opened, exact)

    def __repr__(self) -> str:
        return (
            f"Recommender({self.manifest.model['key']}, {self.manifest.num_items:,} items, "
            f"{type(self.backend).__name__}, {self.store!r})"
        )

    @property
    def forkable(self) -> bool:
        """Whether a forked child may go on with it: its backend says so, where it has no threads and no GPU; an index
        has threads."""
        return bool(getattr(self.backend, "forkable", False)) and self._ranking.index is None

    @property
    def later_items(self) -> int:
        """Times that a user's record named an item of a longer catalogue than this one, which another process serves
        from the same store since this one opened it: such items are passed over, and stay in the record."""
        return self._updates.later_items

    @property
    def late_events(self) -> int:
        """Applied events that were older than one that their user's record had read before them: the state reads them
        as they come, and the user's last time stays that of the newest."""
        return self._updates.late_events

    def __enter__(self) -> Recommender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @_alone
    def close(self) -> None:
        """Closes the store: what it keeps beyond the process is then durable."""
        self.store.close()

    @_alone
    def observe(
        self,
        user: Id,
        item: Id,
        event_id: Id | None = None,
        time: Time | None = None,
        sequence: int | None = None,
        source: Id | None = None,
    ) -> Outcome:
        """Reads one event into the user's state; true where it was applied, else it was skipped (see `Outcome`).

        event_id: an event of an id among the user's newest 8,192 is a duplicate; sequence, source: so is one at or
        below the highest sequence of that user and source, however long ago (see `Event`); time: when it was, so
        that a time-aware bundle knows how long ago that is when it is asked.
        Raises DataError for an id, a time or a sequence that is none, UnknownItemError under on_unknown_item="error".
        """
        user, event = id_text(user, "a user id"), self._observation(item, event_id, time, sequence, source)
        if event is None:
            self.unknown_items += 1
            return Outcome.UNKNOWN_ITEM
        return Outcome.APPLIED if self._updates.one(user, event, None)[0] else Outcome.DUPLICATE

    @_alone
    def observe_and_recommend(
        self,
        user: Id,
        item: Id,
        event_id: Id | None = None,
        time: Time | None = None,
        sequence: int | None = None,
        source: Id | None = None,
        k: int | None = None,
        exclude_seen: bool | None = None,
        exclude: Iterable[Id] | None = None,
        only: Iterable[Id] | None = None,
        where: str | None = None,
        now: Time | None = None,
    ) -> list[Recommendation]:
        """`observe` and `recommend` in one run of the step graph; a skipped event leaves the recommendations alone.

        now: when the recommendations are for; right after the user's last event where it is not named.
        """
        wanted = self._answers.wanted(k, exclude_seen, exclude, only, where, self._moment(now))
        user, event = id_text(user, "a user id"), self._observation(item, event_id, time, sequence, source)
        self.unknown_items += event is None
        best = None if event is None else self._updates.one(user, event, wanted)[1]
        return self._lists([user], wanted)[user] if best is None else self._answers.titled(*best)

    def check(self, events: Events) -> None:
        """Raises whatever `observe_many` would raise for these events, and applies nothing; waits for no other call."""
        self._read(events_of(events))

    @overload
    def observe_many(self, events: Events) -> list[Outcome]: ...

    @overload
    def observe_many(
        self,
        events: Events,
        recommend: int,
        exclude_seen: bool | None = None,
        exclude: Iterable[Id] | None = None,
        only: Iterable[Id] | None = None,
        where: str | None = None,
        now: Time | None = None,
    ) -> tuple[list[Outcome], dict[str, list[Recommendation]]]: ...

    @_alone
    def observe_many(
        self,
        events: Events,
        recommend: int | None = None,
        exclude_seen: bool | None = None,
        exclude: Iterable[Id] | None = None,
        only: Iterable[Id] | None = None,
        where: str | None = None,
        now: Time | None = None,
    ) -> list[Outcome] | tuple[list[Outcome], dict[str, list[Recommendation]]]:
        """Reads events of many users in batches, each user's in the given order; answers with one outcome per event.

        An event is an Event, a tuple (user, item, event_id, time, sequence, source) or a mapping of these names; all
        but the first two may be left out. With `recommend=k` the answer is (outcomes, lists): the k best items of each
        user, by the text of the id, as the state stands after the user's last event, from the same runs of the graphs;
        exclude, only and where as in `recommend`; now as in `observe_and_recommend`.

        A call is applied whole or not at all, whatever raises: all events are checked, then all new records computed
        (and held), then written in one piece. Raises DataError and UnknownItemError like `observe`.
        """
        wanted, moment = None, self._moment(now)
        if recommend is not None:
            wanted = self._answers.wanted(recommend, exclude_seen, exclude, only, where, moment)
        users, read = self._read(events_of(events))
        known = _by_user(users, read)
        applied, lists = self._updates.many(list(known), list(known.values()), wanted)
        self.unknown_items += read.count(None)
        outcomes = _outcomes(users, read, dict(zip(known, applied, strict=True)))
        if wanted is None:
            return outcomes
        titled = self._answers.titled_many(lists, list(lists.values()))
        titled |= self._lists([user for user in dict.fromkeys(users) if user not in lists], wanted)
        return outcomes, {user: titled[user] for user in users}

    @_alone
    def encode_history(self, user: Id, items: Iterable[Id], times: Iterable[Time | None] | None = None) -> int:
        """Reads items, oldest first, after what the user's state holds already; returns how many were applied.

        The same as `observe` of each, in a few runs of the encode graph. `forget` the user first to start over.
        times: of each item, None where it is unknown.
        Raises DataError for anything but lists of ids and of as many times (a text is none), and then applies nothing.
        """
        user, read = id_text(user, "a user id"), self._history(items, times)
        if read:
            self._updates.many([user], [read], encode=True)
        return len(read)

    @_alone
    def recommend(
        self,
        user: Id,
        k: int | None = None,
        exclude_seen: bool | None = None,
        exclude: Iterable[Id] | None = None,
        only: Iterable[Id] | None = None,
        where: str | None = None,
        now: Time | None = None,
    ) -> list[Recommendation]:
        """The k best items for the user as the state stands; the most popular ones for a user without events.

        k: 10 where it is not named. exclude_seen: whether what the user has seen is left out; None as the bundle says,
        which does so but for logs of repeat purchases. exclude: item ids that may not come; only: the ids of all that
        may; where: a condition on columns of items.csv, such as "genre has 'Comedy' and year >= 1990" (the language
        stands in `deployrec.runtime.where`). now: the moment that a time-aware bundle answers for, this one where it is
        not named; a bundle that is not does not look.
        Items that all three allow come; an id that the catalogue does not know follows
        `on_unknown_item`. Fewer than k come back where no more are left. The score is the model's, or the logarithm of
        the item's share of all interactions. Raises ConfigError for a k that is no number of items and for a filter
        that cannot be read, DataError for what is no list of ids and for a `now` that is no time.
        """
        wanted = self._answers.wanted(k, exclude_seen, exclude, only, where, self.clock.asked(now))
        user = id_text(user, "a user id")
        return self._lists([user], wanted)[user]

    @_alone
    def recommend_many(
        self,
        users: Iterable[Id],
        k: int | None = None,
        exclude_seen: bool | None = None,
        exclude: Iterable[Id] | None = None,
        only: Iterable[Id] | None = None,
        where: str | None = None,
        now: Time | None = None,
    ) -> dict[str, list[Recommendation]]:
        """`recommend` of many users, by the text of the id, many to a run of the graph."""
        wanted = self._answers.wanted(k, exclude_seen, exclude, only, where, self.clock.asked(now))
        return self._lists(list(dict.fromkeys(id_text(user, "a user id") for user in users_of(users))), wanted)

    @_alone
    def recommend_after(
        self,
        history: Iterable[Id],
        k: int | None = None,
        exclude_seen: bool | None = None,
        exclude: Iterable[Id] | None = None,
        only: Iterable[Id] | None = None,
        where: str | None = None,
        now: Time | None = None,
        times: Iterable[Time | None] | None = None,
    ) -> list[Recommendation]:
        """`recommend` after a history, item ids, oldest first, that is no user's: nothing of it is kept.

        times: of each item, None where it is unknown; only a time-aware bundle asks, for the last of them.
        """
        wanted = self._answers.wanted(k, exclude_seen, exclude, only, where, self.clock.asked(now))
        return self._after([history], None if times is None else [times], wanted)[0]

    @_alone
    def recommend_after_many(
        self,
        histories: Iterable[Iterable[Id]],
        k: int | None = None,
        exclude_seen: bool | None = None,
        exclude: Iterable[Id] | None = None,
        only: Iterable[Id] | None = None,
        where: str | None = None,
        now: Time | None = None,
        times: Iterable[Iterable[Time | None] | None] | None = None,
    ) -> list[list[Recommendation]]:
        """`recommend_after` of many histories, many to a run of the graphs."""
        return self._after(
            histories, times, self._answers.wanted(k, exclude_seen, exclude, only, where, self.clock.asked(now))
        )

    @_alone
    def score_items(self, user: Id, items: Iterable[Id], now: Time | None = None) -> np.ndarray:
        """Scores float32 [n] of candidate items for the user, in the order given, as `recommend` scores them.

        NaN for an item that the catalogue does not know (UnknownItemError under on_unknown_item="error"), -inf for one
        that is never recommended. Items that the user has seen are scored like others.
        """
        moment = self.clock.asked(now)
        rows, known = self._choices.candidates(items)
        record = self._updates.read([id_text(user, "a user id")])
        if record.num_events[0]:
            scores = self._ranking.scores(self._asked(record, moment), rows)[0]
        else:
            scores = np.array(self.catalogue.log_shares(rows.tolist()), np.float32)
        scores[~self._choices.offered(None)[rows]] = -np.inf
        scores[~known] = np.nan
        return scores

    @_alone
    def similar_items(
        self,
        item: Id,
        k: int | None = None,
        exclude: Iterable[Id] | None = None,
        only: Iterable[Id] | None = None,
        where: str | None = None,
    ) -> list[Recommendation]:
        """The k items of the most similar vectors, but for the item itself; the score is the cosine.

        exclude, only and where as in `recommend`. Raises UnknownItemError for an item that the catalogue does not know.
        """
        wanted = self._answers.wanted(k, True, exclude, only, where)
        row = self.catalogue.rows.get(id_text(item, "an item id"))
        if row is None:
            raise UnknownItemError(f"expected an item of the catalogue; got '{item}'; name one of items.csv")
        rows = np.flatnonzero(self._choices.offered(wanted.choice)).astype(np.int32)
        best = self._ranking.similar(row, np.array([[row]]), wanted.k, rows)
        return self._answers.titled(best.items[0].tolist(), best.scores[0].tolist())

    @_alone
    def user_vector(self, user: Id, now: Time | None = None) -> np.ndarray | None:
        """A copy of the user's vector float32 [D], whose products with item vectors are the scores (of a time-aware
        bundle those of this moment, see `recommend`); None for a user without events."""
        moment = self.clock.asked(now)
        record = self._updates.read([id_text(user, "a user id")])
        return self._asked(record, moment)[0].copy() if record.num_events[0] else None

    def item_vectors(self) -> np.ndarray:
        """The item vectors float32 [N + 1, D], not to be written to: row r is that of `catalogue.item_ids[r]`, row 0
        padding."""
        return self._ranking.table.floats()

    @_alone
    def user(self, user: Id) -> UserRecord | None:
        """Copies of everything stored of the user; None for an unknown one."""
        rows = self._updates.read([id_text(user, "a user id")])
        if not rows.version[0] and not rows.num_events[0]:
            return None
        time, ids = rows.last_time[0].item(), self.catalogue.item_ids
        return UserRecord(
            num_events=rows.num_events[0].item(),
            last_event_id=rows.last_event_id[0],
            last_time=None if time == NO_TIME else time,
            seen=[ids[row] for row in np.frombuffer(rows.seen[0], np.int32) if row < len(ids)],
            sequences=dict(rows.sequences[0]),
            user_vector=rows.user[0].copy(),
            state={name: tensor[0].copy() for name, tensor in rows.state.items()},
        )

    @_alone
    def forget(self, user: Id) -> bool:
        """Drops everything stored of the user; False for an unknown one."""
        return bool(self.store.forget([id_text(user, "a user id")]))

    def save_states(self, path: str | Path) -> None:
        """Writes all users' records to one file, whole or not at all, whatever the store.

        Other threads' calls go on between blocks of users: each record is one that the user had while this call ran, of
        different users perhaps at different moments. Raises DataError if the disk refuses.
        """
        blocks = blocks_of(self.store, self._updates.read)
        write_states(path, self.store.layout, self._meta(), iter(lambda: self._next(blocks), None))

    @_alone
    def load_states(self, path: str | Path, history: Callable[[str], Iterable[Id]] | None = None) -> None:
        """Replaces all users by those of a file that `save_states` wrote; other threads' calls wait, and go on from
        the loaded users.

        States of another bundle raise StaleStateError, or, with `history` (a user id -> all items, oldest first, by
        something other than this recommender), each user is encoded again; which events were applied stays known.
        Raises DataError for a broken file, and then replaces nobody.
        """
        saved, store = Snapshot.read(path), self.store
        if saved.state_id == store.layout.state_id:
            check_items(self.manifest, saved.meta)
        if history is not None and saved.state_id != store.layout.state_id:
            rows = self._encoded(saved, [self._history(history(user)) for user in saved.users])
        else:
            rows = saved.rows(store.layout)
        before = set(store.users())
        both = [user for user in saved.users if user in before]
        if any(items is not None for items in store.history(both[:1])):
            store.forget(both)  # the histories that it kept of them too
            before.difference_update(both)
        for place, user in enumerate(saved.users):
            if user in before:
                rows.version[place] += store.read([user]).version[0]
        if saved.users:
            store.write(saved.users, rows)
        store.forget(list(before.difference(saved.users)))

    def _encoded(self, saved: Snapshot, read: list[list[Observation]]) -> Rows:
        """Saved users once these events are encoded; which events were applied stays as it was."""
        aside, rows = MemoryStore(self.store.layout), saved.events(self.store.layout)
        if saved.users:
            aside.write(saved.users, rows)
        some = [place for place, events in enumerate(read) if events]
        updates = Updates(self.manifest, self.backend, aside, self.catalogue.rows, self._ranking)
        updates.many([saved.users[place] for place in some], [read[place] for place in some], encode=True)
        encoded = aside.read(saved.users).take(range(len(read)))
        encoded.version[...], encoded.last_time[...] = 1, rows.last_time
        encoded.last_event_id = rows.last_event_id
        encoded.read = read
        return encoded

    @_alone
    def _meta(self) -> dict[str, Any]:
        return self.store.meta()

    @_alone
    def _next(self, blocks: Iterator[tuple[list[str], Rows]]) -> tuple[list[str], Rows] | None:
        return next(blocks, None)

    def _read(self, events: list[object]) -> tuple[list[str], list[Observation | None]]:
        """The users and the checked events, None for an unknown item to skip."""
        if (plain := self._plain(events)) is not None:
            return plain
        users, read, observation = [], [], self._observation
        for place, value in enumerate(events):
            try:
                user, *event = event_fields(value)
                # What id_text answers for most ids, without its call.
                users.append(user if type(user) is str and user and user.isascii() else id_text(user, "a user id"))
                read.append(observation(*event))
            except DeployrecError as error:
                raise type(error)(f"events[{place}]: {error}") from None
        return users, read

    def _plain(self, events: list[Any]) -> tuple[list[str], list[Observation | None]] | None:
        """What `_read` answers for tuples of texts, all (user, item) or all (user, item, event_id), whose items are all
        known; None for others. Column by column it takes a third of the time."""
        if set(map(type, events)) != {tuple} or len(widths := set(map(len, events))) > 1 or not widths < {2, 3}:
            return None
        users, items, *ids = zip(*events, strict=True)
        texts = (*users, *chain(*ids))
        if set(map(type, chain(texts, items))) != {str} or not all(texts) or not all(map(str.isascii, texts)):
            return None
        rows = list(map(self.catalogue.rows.get, items))
        if None in rows:
            return None
        event_ids, hashes = (ids[0], map(event_hash, ids[0])) if ids else (repeat(None), repeat(b""))
        fields = zip(rows, items, event_ids, hashes, repeat(NO_TIME), repeat(None), strict=False)
        return list(users), list(map(tuple.__new__, repeat(Observation), fields))

    def _observation(
        self, item: object, event_id: object = None, time: object = None, sequence: object = None, source: object = None
    ) -> Observation | None:
        """The checked event; None for an unknown item to skip."""
        # An item that the catalogue holds is an id: only what it does not hold has to be looked at.
        row = self.catalogue.rows.get(item) if type(item) is str else None
        if row is None:
            item = id_text(item, "an item id")
            row = self.catalogue.rows.get(item)
        if event_id is None or (isinstance(event_id, str) and not event_id):
            event_id, hashed = None, b""
        else:
            event_id = id_text(event_id, "an event id")
            hashed = event_hash(event_id)
        time = NO_TIME if time is None else self.clock.read(time)
        mark = None if sequence is None and source is None else event_mark(sequence, source)
        if row is None:
            if self.on_unknown_item == "error":
                raise UnknownItemError(
                    f"expected an item of the catalogue ({self.manifest.num_items:,} items); got '{item}'; "
                    'leave it out or choose on_unknown_item="skip"'
                )
            return None
        # What Observation(...) ends in, without its call.
        return tuple.__new__(Observation, (row, item, event_id, hashed, time, mark))

    def _moment(self, now: Time | None) -> int | None:
        """A moment that a caller may have named."""
        return None if now is None else self.clock.read(now)

    def _asked(self, rows: Rows, now: int | None) -> np.ndarray:
        """User vectors [B, D] as they are scored at that moment."""
        return self._ranking.at(rows.user, self._updates.elapsed(rows, now))

    def _history(self, items: object, times: object = None) -> list[Observation]:
        """The checked items of a history, without unknown ones."""
        listed = items_of(items)
        moments = [None] * len(listed) if times is None else times_of(times, len(listed))
        read = [self._observation(item, time=moment) for item, moment in zip(listed, moments, strict=True)]
        self.unknown_items += read.count(None)
        return [event for event in read if event]

    def _after(
        self,
        histories: Iterable[Iterable[Id]],
        times: Iterable[Iterable[Time | None] | None] | None,
        wanted: Wanted,
    ) -> list[list[Recommendation]]:
        listed = list(histories)
        moments = [None] * len(listed) if times is None else times_of(times, len(listed))
        known = [self._history(items, own) for items, own in zip(listed, moments, strict=True)]
        some = [place for place, read in enumerate(known) if read]
        rows = [np.array([event.row for event in known[place]], np.int64) for place in some]
        last = [newest_time(NO_TIME, [event.time for event in known[place]])[0] for place in some]
        found = self._updates.lists_after(rows, last, wanted)
        best = dict(zip(some, found, strict=True))
        return [self._best(best.get(place), wanted) for place in range(len(known))]

    def _lists(self, users: Sequence[str], wanted: Wanted) -> dict[str, list[Recommendation]]:
        """The best items of each user as the state stands."""
        found = dict(self._updates.lists(users, wanted))
        known = {user: best for user, best in found.items() if best is not None}
        titled = self._answers.titled_many(known, list(known.values()))
        return {user: titled[user] if user in titled else self._answers.popular(wanted) for user in found}

    def _best(self, best: Best | None, wanted: Wanted) -> list[Recommendation]:
        return self._answers.popular(wanted) if best is None else self._answers.titled(*best)


def _by_user(users: Sequence[str], read: Sequence[Observation | None]) -> dict[str, Sequence[Observation]]:
    """Each user's known events in their order."""
    if None not in read:
        single = dict(zip(users, zip(cast(Sequence[Observation], read), strict=True), strict=True))
        if len(single) == len(users):
            return cast(dict[str, Sequence[Observation]], single)
    known: dict[str, Any] = {}
    for user, event in zip(users, read, strict=True):
        if event is not None:
            known.setdefault(user, []).append(event)
    return known


def _outcomes(
    users: Sequence[str], read: Sequence[Observation | None], applied: Mapping[str, Sequence[bool]]
) -> list[Outcome]:
    """What became of each event, given what became of each user's known ones in their order."""
    if sum(map(sum, applied.values())) == len(read):
        return [Outcome.APPLIED] * len(read)
    flags = {user: iter(own) for user, own in applied.items()}
    return [
        (Outcome.APPLIED if next(flags[user]) else Outcome.DUPLICATE) if event is not None else Outcome.UNKNOWN_ITEM
        for user, event in zip(users, read, strict=True)
    ]
