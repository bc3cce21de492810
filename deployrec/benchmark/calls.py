"""The public calls as people make them: users with real histories, whose every call brings the next real events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np

from deployrec.runtime.recommender import Recommender

SINGLE = ("observe", "observe_and_recommend")
"""Calls for one user."""
MANY = ("observe_many", "observe_many with lists", "recommend_many")
"""Calls for a batch of users, one event each, every event with an id."""
CALLS = (*SINGLE, *MANY)


class PublicCalls:
    """Timed calls of one recommender, lists of `k`; what users have seen is left out."""

    def __init__(self, recommender: Recommender, k: int) -> None:
        self.recommender, self.k = recommender, k

    def timer(
        self, name: str, history: Sequence[np.ndarray], following: Sequence[np.ndarray]
    ) -> Callable[[int], np.ndarray]:
        """Seconds of so many calls of one of CALLS; making their arguments is not timed.

        For each batch of users that calls take turns over: the item rows that they have read [B, T], and those that
        follow [B, M], one in each call; after the last the first comes again.
        """
        ids = self.recommender.catalogue.item_ids
        users: list[list[str]] = []
        for number, rows in enumerate(history):
            users.append([f"{name} {len(rows)} {number} {place}" for place in range(len(rows))])
            for user, read in zip(users[-1], rows.tolist(), strict=True):
                self.recommender.encode_history(user, [ids[row] for row in read])
        texts = [[[ids[row] for row in line] for line in rows.tolist()] for rows in following]
        arguments, call = _arguments(name, users, texts), self._call(name)

        def run(number: int) -> np.ndarray:
            times = np.empty(number)
            for place in range(number):
                argument = next(arguments)
                begin = time.perf_counter()
                call(argument)
                times[place] = time.perf_counter() - begin
            return times

        return run

    def _call(self, name: str) -> Callable[[Any], object]:
        recommender, k = self.recommender, self.k
        calls: dict[str, Callable[[Any], object]] = {
            "observe": lambda event: recommender.observe(event[0], event[1]),
            "observe_and_recommend": lambda event: recommender.observe_and_recommend(event[0], event[1], k=k),
            "observe_many": lambda events: recommender.observe_many(events),
            "observe_many with lists": lambda events: recommender.observe_many(events, recommend=k),
            "recommend_many": lambda users: recommender.recommend_many(users, k),
        }
        return calls[name]


def _arguments(name: str, users: list[list[str]], following: list[list[list[str]]]) -> Iterator[Any]:
    """What each call gets, without end."""
    for turn in count():
        batch, place = turn % len(users), turn // len(users)
        named = users[batch]
        items = [line[place % len(line)] for line in following[batch]]
        if name in SINGLE:
            yield named[0], items[0]
        elif name == "recommend_many":
            yield named
        else:
            yield [(user, item, f"{turn}-{line}") for line, (user, item) in enumerate(zip(named, items, strict=True))]
