"""Random calls as a script for tests/plugins_trt/cpp/replay.cpp, and what Python's `Recommender` answers to them."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from deployrec.runtime.recommender import Recommendation, Recommender

USERS, MOST_EVENTS = 40, 12
TIE = 2e-4
"""Scores so close may change places between batches of different sizes: they are of order one, in float32."""

List = list[tuple[int, float]]
"""Item rows and scores."""


class Calls:
    """Makes one call after another, keeps its line of the script, and the lists that Python answers with."""

    def __init__(self, recommender: Recommender, seed: int, users: range) -> None:
        self.recommender, self.random, self.users = recommender, random.Random(seed), users
        self.script: list[str] = []
        self.expected: list[List | None] = []
        """None for what Python does not tell: the list before a user's last event of a call"""
        self.known: set[int] = set()

    def make(self, number: int) -> Calls:
        kinds = (self.observe, self.recommend, self.step, self.step_many, self.among, self.encode, self.forget)
        for _ in range(number):
            self.random.choices((*kinds, self.export), (4, 3, 6, 4, 2, 1, 0.2, 0.5))[0]()
        return self

    def item(self) -> int:
        return self.random.randint(1, self.recommender.manifest.num_items)

    def id(self, row: int) -> str:
        return self.recommender.catalogue.item_ids[row]

    def k(self) -> int:
        return self.random.choice((1, 5, 10))

    def events(self) -> list[tuple[int, int]]:
        number = self.random.randint(1, MOST_EVENTS)
        return [(self.random.choice(self.users), self.item()) for _ in range(number)]

    def observe(self) -> None:
        events = self.events()
        self.recommender.observe_many([(user, self.id(row)) for user, row in events])
        self.known.update(user for user, _ in events)
        self.write("o", len(events), *(n for event in events for n in event))

    def step(self) -> None:
        user, row, k = self.random.choice(self.users), self.item(), self.k()
        found = self.recommender.observe_and_recommend(user, self.id(row), k=k)
        self.known.add(user)
        self.write("r", 1, k, user, row)
        self.expected.append(self.rows(found))

    def step_many(self) -> None:
        events, k = self.events(), self.k()
        _, lists = self.recommender.observe_many([(user, self.id(row)) for user, row in events], recommend=k)
        self.write("r", len(events), k, *(n for event in events for n in event))
        for place, (user, _) in enumerate(events):
            is_last = user not in {later for later, _ in events[place + 1 :]}
            self.expected.append(self.rows(lists[str(user)]) if is_last else None)
            self.known.add(user)

    def recommend(self) -> None:
        users, k = self.random.sample(self.users, min(len(self.users), self.random.randint(1, 6))), self.k()
        found = self.recommender.recommend_many(users, k=k)
        self.write("l", len(users), k, *users)
        for user in users:  # C++ leaves the list of a user without events to the caller
            self.expected.append(self.rows(found[str(user)]) if user in self.known else [(0, -math.inf)] * k)

    def among(self) -> None:
        """A list of some items; they may be none, and fewer than k may be left."""
        user, k = self.random.choice(self.users), self.k()
        row = self.item() if self.random.random() < 0.5 or user not in self.known else 0
        only, exclude = ([self.item() for _ in range(self.random.choice((0, 3, 100)))] for _ in range(2))
        may, may_not = list(map(self.id, only)), list(map(self.id, exclude))
        if row:
            found = self.recommender.observe_and_recommend(user, self.id(row), k=k, only=may, exclude=may_not)
        else:
            found = self.recommender.recommend(user, k, only=may, exclude=may_not)
        self.known.add(user)
        self.write("c", user, row, k, len(only), *only, len(exclude), *exclude)
        listed = self.rows(found)
        self.expected.append([*listed, *[(0, -math.inf)] * (k - len(listed))])

    def encode(self) -> None:
        user, resume = self.random.choice(self.users), self.random.random() < 0.5
        rows = [self.item() for _ in range(self.random.randint(1, 90))]
        if not resume:
            self.recommender.forget(user)
        self.recommender.encode_history(user, [self.id(row) for row in rows])
        self.known.add(user)
        self.write("e", user, int(resume), len(rows), *rows)

    def forget(self) -> None:
        user = self.random.choice(self.users)
        self.recommender.forget(user)
        self.known.discard(user)
        self.write("f", user)

    def export(self) -> None:
        if self.known:
            self.write("x", self.random.choice(sorted(self.known)))

    def rows(self, found: list[Recommendation]) -> List:
        return [(self.recommender.catalogue.rows[best.item_id], best.score) for best in found]

    def write(self, *words: object) -> None:
        self.script.append(" ".join(map(str, words)))

    def save(self, path: Path) -> Path:
        path.write_text("\n".join(self.script) + "\n")
        return path

    def check(self, path: Path) -> None:
        """Compares with what the program wrote beside the script at `path`."""
        lines = [line.split() for line in Path(f"{path}.out").read_text().splitlines()]
        lists = [line for line in lines if len(line) > 1]
        assert len(lines) - len(lists) == sum(line.startswith("x") for line in self.script)
        assert len(lists) == len(self.expected)
        for words, expected in zip(lists, self.expected, strict=True):
            if expected is not None:
                same(list(zip(map(int, words[::2]), map(float, words[1::2]), strict=True)), expected)


def same(got: List, expected: List) -> None:
    """Scores agree place by place, and items wherever no other score is as good."""
    assert [score for _, score in got] == pytest.approx([score for _, score in expected], abs=TIE / 2, rel=TIE / 2)
    for place, ((row, _), (other, score)) in enumerate(zip(got, expected, strict=True)):
        near = [s for n, (_, s) in enumerate(expected) if n != place and abs(s - score) < TIE * max(1, abs(score))]
        if row != other:
            assert near or place == len(expected) - 1
