"""The routes of users and events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import chain
from operator import add, attrgetter
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from deployrec.runtime import Recommender
from deployrec.runtime.events import times_of
from deployrec.runtime.recommender import UserRecord
from deployrec.server import reading
from deployrec.server.bodies import Bodies
from deployrec.server.bundles import Arms, Bundles
from deployrec.server.problems import RequestError
from deployrec.server.schemas import (
    Choice,
    Event,
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

Fields = tuple[Any, ...]
"""An event as the beginning of `deployrec.Event`."""
Lists = dict[str, list[Item]]
IDS, ORDER = attrgetter("user", "item", "event_id"), attrgetter("time", "sequence", "source")
NO_ORDER = (None, None, None)
JSON = (b"content-type", b"application/json")
USUAL = 64
"""Bytes of a query up to which what it wants is remembered: most callers ask alike."""
EVENTS = msgspec.json.Decoder(EventsRequest)
RECOMMENDATIONS = msgspec.json.Decoder(RecommendationsRequest)


class Json(Response):
    """An answer, for a third of the time that headers of all kinds take."""

    def __init__(self, answer: msgspec.Struct) -> None:
        self.status_code, self.background, self.body = 200, None, encode(answer)
        self.raw_headers = [JSON, (b"content-length", b"%d" % len(self.body))]


class Routes:
    """Handlers of requests, each answered by the bundles of the moment in which its body had come."""

    def __init__(self, bundles: Bundles, bodies: Bodies) -> None:
        self.bundles, self.limits, self.bodies = bundles, bundles.settings.limits, bodies
        self._usual_choice = lru_cache(1024)(partial(reading.choice_in, limits=self.limits))

    async def events(self, request: Request) -> Response:
        """Apply one event or many; answers once all are committed."""
        body = await self.bodies.read(request, EVENTS)
        events, arms = self._events(body), self.bundles.now()
        if arms.canary is None:
            outcomes, lists = await self._apply(arms.main, events, body)
            return Json(EventsAnswer(outcomes, [arms.main.bundle_id], lists))
        return await self._apply_by_arm(arms, events, body)

    async def of_user(self, request: Request) -> Response:
        """The best items of a user, as the state stands."""
        user, arms = reading.user_in(request, self.limits), self.bundles.now()
        served = arms.of(user)
        query = request.scope["query_string"]
        if len(query) <= USUAL:
            choice = self._usual_choice(query, served.max_k)
        else:
            choice = reading.choice_in(query, served.max_k, self.limits)
        lists = await served.ask(1, Recommend([user], choice))
        return Json(UserAnswer(items_of(lists[user], choice.k), served.bundle_id))

    async def recommendations(self, request: Request) -> Response:
        """The best items of many users, or after a bare history, of which nothing is stored."""
        body = await self.bodies.read(request, RECOMMENDATIONS)
        if (body.users is None) == (body.history is None):
            raise RequestError(400, "expected either users or a history; got both or neither; send one of them")
        arms = self.bundles.now()
        if body.history is not None:
            return await self._after(arms.main, body.history, body)
        assert body.users is not None
        reading.check_number(len(body.users), self.limits.max_events, "users")
        users = [reading.user_id(user, self.limits) for user in body.users]
        parts = _by_arm(arms, users)
        choices = [reading.choice_of(body.k, body, served.max_k, self.limits) for served, _ in parts]
        answers = await asyncio.gather(
            *(
                served.ask(len(places), Recommend([users[place] for place in places], choice))
                for (served, places), choice in zip(parts, choices, strict=True)
            )
        )
        lists: dict[str, list[Item]] = {user: [] for user in users}
        for (_, places), choice, own in zip(parts, choices, answers, strict=True):
            lists.update((users[place], items_of(own[users[place]], choice.k)) for place in places)
        return Json(UsersAnswer(lists, [served.bundle_id for served, _ in parts]))

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
        return Json(record)

    async def forget(self, request: Request) -> Response:
        """Erase a user: the records of all bundles, and the history."""
        user, arms = reading.user_in(request, self.limits), self.bundles.now()

        def forget(recommender: Recommender) -> bool:
            return recommender.forget(user)

        if not await arms.of(user).ask(1, Call(forget)):
            raise _unknown(user)
        return Response(status_code=204)

    def _events(self, body: EventsRequest) -> list[Fields]:
        """The events as `Recommender.observe_many` reads them."""
        if body.events is None:
            if body.user is None or body.item is None:
                raise RequestError(
                    400, "expected user and item, or events; got neither; send one event or a list of them"
                )
            return self._fields((body,))
        if body.user is not None or body.item is not None:
            raise RequestError(400, "expected user and item, or events; got both; send one event or a list of them")
        reading.check_number(len(body.events), self.limits.max_events, "events")
        return self._fields(body.events)

    def _fields(self, events: Sequence[Event | EventsRequest]) -> list[Fields]:
        """As short as the events allow: those of two or three texts are read column by column."""
        ids = list(map(IDS, events))
        reading.check_ids(chain.from_iterable(ids), self.limits)
        order = list(map(ORDER, events))
        if any(map(NO_ORDER.__ne__, order)):
            reading.check_ids((source for _, _, source in order), self.limits)
            return list(map(add, ids, order))
        return ids if any(event_id is not None for _, _, event_id in ids) else [event[:2] for event in ids]

    async def _apply(self, served: Served, events: list[Fields], body: EventsRequest) -> tuple[list[str], Lists | None]:
        """Outcomes of the events, and the lists of their users where they are wanted."""
        if body.recommend is None:
            outcomes, _ = await served.ask(len(events), Observe(events, None))
            return outcomes, None
        choice = reading.choice_of(body.recommend, body, served.max_k, self.limits)
        outcomes, lists = await served.ask(len(events), Observe(events, choice))
        users = dict.fromkeys(str(event[0]) for event in events)
        return outcomes, {user: items_of(lists[user], choice.k) for user in users}

    async def _apply_by_arm(self, arms: Arms, events: list[Fields], body: EventsRequest) -> Response:
        parts = _by_arm(arms, [event[0] for event in events])
        for served, _ in parts:  # whatever one of them would refuse, neither shall apply
            served.recommender.check(events)
            if body.recommend is not None:
                await served.ask(1, Recommend([], reading.choice_of(body.recommend, body, served.max_k, self.limits)))
        asked = [self._apply(served, [events[place] for place in places], body) for served, places in parts]
        answers = await asyncio.gather(*asked)
        outcomes, lists = [""] * len(events), {}
        for (_, places), (own, own_lists) in zip(parts, answers, strict=True):
            lists.update(own_lists or {})
            for place, outcome in zip(places, own, strict=True):
                outcomes[place] = outcome
        ids = [served.bundle_id for served, _ in parts]
        return Json(EventsAnswer(outcomes, ids, None if body.recommend is None else lists))

    async def _after(self, served: Served, history: list[Any], body: RecommendationsRequest) -> Response:
        reading.check_number(len(history), self.limits.max_history, "items")
        reading.check_ids(history, self.limits)
        choice: Choice = reading.choice_of(body.k, body, served.max_k, self.limits)
        times: list[int | None] | None = None
        if body.times is not None:  # looked at before they share a batch with others'
            read = served.recommender.clock.read
            times = [None if time is None else read(time) for time in times_of(body.times, len(history))]
        found = await served.ask(1, After(history, times, choice))
        return Json(UserAnswer(items_of(found, choice.k), served.bundle_id))


def _by_arm(arms: Arms, users: list[Any]) -> list[tuple[Served, range | list[int]]]:
    """The bundles that answer these users, with the users' places; the main one alone where there is no canary."""
    if arms.canary is None:
        return [(arms.main, range(len(users)))]
    places: dict[Served, list[int]] = {}
    for place, user in enumerate(users):
        places.setdefault(arms.of(str(user)), []).append(place)
    return list(places.items()) or [(arms.main, range(0))]


def _unknown(user: str) -> RequestError:
    return RequestError(404, f"expected a known user; got '{user}', of whom nothing is stored; check the id")
