"""Bodies of requests and answers: msgspec decodes, checks and encodes them, and describes them in /openapi.json."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import UNSET, Struct, UnsetType

from deployrec.runtime import Recommendation

Id = str | int
Time = float | int | str
"""A number in the unit of the bundle's log, or ISO 8601 text."""


class Choice(NamedTuple):
    """Which items a request wants: how many, and out of which. Requests that differ in `k` alone share a run."""

    k: int
    exclude_seen: bool | None = None
    exclude: tuple[Id, ...] | None = None
    only: tuple[Id, ...] | None = None
    where: str | None = None
    now: Time | None = None


class Event(Struct, forbid_unknown_fields=True):
    """One interaction, as `deployrec.Event`: time is a number in the unit of the bundle's log or ISO 8601 text,
    sequence the event's place in its source's order."""

    user: Id
    item: Id
    event_id: Id | None = None
    time: Time | None = None
    sequence: int | None = None
    source: Id | None = None


class EventsRequest(Struct, forbid_unknown_fields=True):
    """One event by its own fields, or many in `events`; with `recommend` the answer holds the best items of each
    user after the user's last event, out of those that `exclude`, `only` and `where` allow; of a time-aware bundle for
    the moment `now`, or right after that event."""

    user: Id | None = None
    item: Id | None = None
    event_id: Id | None = None
    time: Time | None = None
    sequence: int | None = None
    source: Id | None = None
    events: list[Event] | None = None
    recommend: int | None = None
    exclude_seen: bool | UnsetType = UNSET
    exclude: list[Id] | None = None
    only: list[Id] | None = None
    where: str | None = None
    now: Time | None = None


class RecommendationsRequest(Struct, forbid_unknown_fields=True):
    """Either `users`, or the item ids of a bare `history`, oldest first, of which nothing is stored. exclude: ids that
    may not come; only: all that may; where: a condition on columns of items.csv, such as "year >= 1990"; now: the
    moment that a time-aware bundle answers for, by default this one; times: of each item of the history, or null."""

    users: list[Id] | None = None
    history: list[Id] | None = None
    k: int | None = None
    exclude_seen: bool | UnsetType = UNSET
    exclude: list[Id] | None = None
    only: list[Id] | None = None
    where: str | None = None
    now: Time | None = None
    times: list[Time | None] | None = None


class Item(Struct):
    """A recommended item; the score is the model's, or for a user without events the logarithm of the item's share."""

    item_id: str
    title: str
    score: float


class EventsAnswer(Struct, omit_defaults=True):
    """What became of each event, in their order ("applied", "duplicate", "unknown item"): all is committed."""

    outcomes: list[str]
    bundle_ids: list[str]
    recommendations: dict[str, list[Item]] | None = None


class UserAnswer(Struct):
    """The best items of one user, or after one history."""

    recommendations: list[Item]
    bundle_id: str


class UsersAnswer(Struct):
    """The best items of each user, by the text of the id."""

    recommendations: dict[str, list[Item]]
    bundle_ids: list[str]


class Record(Struct):
    """What is stored of a user, without tensors; `seen` holds distinct items, the latest last."""

    num_events: int
    last_event_id: str | None
    last_time: int | None
    seen: list[str]
    sequences: dict[str, int]
    bundle_id: str


def items_of(recommendations: list[Recommendation], k: int) -> list[Item]:
    """The first k as they are answered."""
    return [Item(*entry) for entry in recommendations[:k]]


encode = msgspec.json.Encoder().encode
