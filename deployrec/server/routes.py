"""The routes of users and events."""

from __future__ import annotations

import asyncio
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from deployrec.runtime import Recommender
from deployrec.runtime.recommender import UserRecord
from deployrec.server import reading
from deployrec.server.bundles import Arms, Bundles
from deployrec.server.problems import Problem
from deployrec.server.schemas import (
    Choice,
    EventsAnswer,
    EventsRequest,
    Item,
    RecommendationsRequest,
    Record,
    UserAnswer,
    UsersAnswer,
    encode,
    items_of,
)
from deployrec.server.served import After, Call, Observe, Recommend, Served

FIELDS = attrgetter("user", "item", "event_id", "time", "sequence", "source")
IDS = attrgetter("user", "item", "event_id", "source")
EVENTS = msgspec.json.Decoder(EventsRequest)
RECOMMENDATIONS = msgspec.json.Decoder(RecommendationsRequest)


class Routes:
    """Handlers of requests, each answered by the bundles of the moment in which its body had come."""

    def __init__(self, bundles: Bundles) -> None:
        self.bundles, self.limits = bundles, bundles.settings.limits

    async def events(self, request: Request) -> Response:
        """Apply one event or many; answers once all are committed."""
        body = await reading.read(request, EVENTS, self.limits)
        events = self._events(body)
        arms = self.bundles.now()
        parts = _by_arm(arms, [event[0] for event in events])
        asks = []
        for served, places in parts:
            choice = None
            if body.recommend is not None:
                choice = reading.choice_of(body.recommend, body.exclude_seen, served.max_k)
            own = events if len(parts) == 1 else [events[place] for place in places]
            asks.append((served, Observe(served.recommender.check(own), choice), len(own)))
        # A second bundle's events are asked for only once those of the first are known to be sound.
        answers = await asyncio.gather(*(served.ask(size, ask) for served, ask, size in asks))
        outcomes: list[Any] = [None] * len(events)
        lists: dict[str, list[Item]] = {}
        for (_, places), (_, ask, _), (own_outcomes, own_lists) in zip(parts, asks, answers, strict=True):
            for place, outcome in zip(places, own_outcomes, strict=True):
                outcomes[place] = outcome.value
            if ask.choice is not None:
                lists.update(
                    (user, items_of(own_lists[user], ask.choice.k)) for user in dict.fromkeys(ask.events.users)
                )
        ids = [served.bundle_id for served, _ in parts]
        return _json(EventsAnswer(outcomes, ids, None if body.recommend is None else lists))

    async def of_user(self, request: Request) -> Response:
        """The best items of a user, as the state stands."""
        user, arms = reading.user_in(request, self.limits), self.bundles.now()
        served = arms.of(user)
        choice = reading.choice_in(request, served.max_k)
        lists = await served.ask(1, Recommend([user], choice))
        return _json(UserAnswer(items_of(lists[user], choice.k), served.bundle_id))

    async def recommendations(self, request: Request) -> Response:
        """The best items of many users, or after a bare history, of which nothing is stored."""
        body = await reading.read(request, RECOMMENDATIONS, self.limits)
        if (body.users is None) == (body.history is None):
            raise Problem(400, "expected either users or a history; got both or neither; send one of them")
        arms = self.bundles.now()
        if body.history is not None:
            return await self._after(arms.main, body.history, body)
        assert body.users is not None
        reading.check_number(len(body.users), self.limits.max_events, "users")
        users = [reading.user_id(user, self.limits) for user in body.users]
        parts = _by_arm(arms, users)
        choices = [reading.choice_of(body.k, body.exclude_seen, served.max_k) for served, _ in parts]
        answers = await asyncio.gather(
            *(
                served.ask(len(places), Recommend([users[place] for place in places], choice))
                for (served, places), choice in zip(parts, choices, strict=True)
            )
        )
        lists: dict[str, list[Item]] = {user: [] for user in users}
        for (_, places), choice, own in zip(parts, choices, answers, strict=True):
            lists.update((users[place], items_of(own[users[place]], choice.k)) for place in places)
        return _json(UsersAnswer(lists, [served.bundle_id for served, _ in parts]))

    async def record(self, request: Request) -> Response:
        """What is stored of a user."""
        user, arms = reading.user_in(request, self.limits), self.bundles.now()
        served = arms.of(user)

        def look(recommender: Recommender) -> UserRecord | None:
            return recommender.user(user)

        found = await served.ask(1, Call(look))
        if found is None:
            raise _unknown(user)
        record = Record(
            found.num_events, found.last_event_id, found.last_time, found.seen, found.sequences, served.bundle_id
        )
        return _json(record)

    async def forget(self, request: Request) -> Response:
        """Erase a user: the records of all bundles, and the history."""
        user, arms = reading.user_in(request, self.limits), self.bundles.now()

        def forget(recommender: Recommender) -> bool:
            return recommender.forget(user)

        if not await arms.of(user).ask(1, Call(forget)):
            raise _unknown(user)
        return Response(status_code=204)

    def _events(self, body: EventsRequest) -> list[tuple[Any, ...]]:
        """The events as `Recommender.check` reads them, shortest tuples first choice: it has a fast way for them."""
        alone = body.user is not None or body.item is not None
        if alone == (body.events is not None):
            raise Problem(400, "expected user and item, or events; got both or neither; send one event or a list")
        found: list[Any] = [body] if body.events is None else body.events
        reading.check_number(len(found), self.limits.max_events, "events")
        if alone and (body.user is None or body.item is None):
            raise Problem(400, "expected user and item of the event; got one of them; send both")
        reading.check_ids(chain.from_iterable(map(IDS, found)), self.limits)
        events = list(map(FIELDS, found))
        if all(event[2:] == (event[2], None, None, None) for event in events):
            events = [event[:3] for event in events]
            if all(event[2] is None for event in events):
                events = [event[:2] for event in events]
        return events

    async def _after(self, served: Served, history: list[Any], body: RecommendationsRequest) -> Response:
        reading.check_number(len(history), self.limits.max_history, "items")
        reading.check_ids(history, self.limits)
        choice: Choice = reading.choice_of(body.k, body.exclude_seen, served.max_k)
        found = await served.ask(1, After(history, choice))
        return _json(UserAnswer(items_of(found, choice.k), served.bundle_id))


def _by_arm(arms: Arms, users: list[Any]) -> list[tuple[Served, range | list[int]]]:
    """The bundles that answer these users, with the users' places; the main one alone where there is no canary."""
    if arms.canary is None:
        return [(arms.main, range(len(users)))]
    places: dict[Served, list[int]] = {}
    for place, user in enumerate(users):
        places.setdefault(arms.of(str(user)), []).append(place)
    return list(places.items()) or [(arms.main, range(0))]


def _json(answer: msgspec.Struct) -> Response:
    return Response(encode(answer), media_type="application/json")


def _unknown(user: str) -> Problem:
    return Problem(404, f"expected a known user; got '{user}', of whom nothing is stored; check the id")
