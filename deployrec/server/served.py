"""One bundle that is served: its recommender, the batches it answers, and its counts."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from deployrec.bundle.bundle import Bundle
from deployrec.errors import BundleError, DataError
from deployrec.runtime import Recommendation, Recommender
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.stores.base import Layout, load_store
from deployrec.runtime.verify import self_test
from deployrec.server.batching import Batcher, Job
from deployrec.server.metrics import BundleMetrics, Metrics, TimedStore
from deployrec.server.schemas import Choice
from deployrec.server.settings import Settings

Lists = dict[str, list[Recommendation]]
NO_LISTS: Lists = {}
Answer = TypeVar("Answer")


class Observe(NamedTuple):
    """Events to apply; answered by outcomes and, with a choice, the lists of their users."""

    events: list[tuple[Any, ...]]
    choice: Choice | None


class Recommend(NamedTuple):
    """Users' lists."""

    users: list[str]
    choice: Choice


class After(NamedTuple):
    """The list after a bare history."""

    items: list[Any]
    times: list[int | None] | None
    choice: Choice


class Call(NamedTuple, Generic[Answer]):
    """Anything else that needs the recommender for itself."""

    work: Callable[[Recommender], Answer]


Asked = Observe | Recommend | After | Call[Any]


class Served:
    """Answers requests from one bundle. Made by `load`, off the event loop; then used on the loop."""

    def __init__(self, recommender: Recommender, store: TimedStore, settings: Settings) -> None:
        self.recommender, self.bundle_id = recommender, recommender.manifest.bundle_id
        self._store, self._metrics = store, store.metrics
        self._late = recommender.late_events
        limits = settings.limits
        self.max_k = min(limits.max_k, recommender.manifest.num_items)
        self.batcher = Batcher(self._answer, limits.max_batch, limits.max_delay / 1e3, limits.max_queue)

    @classmethod
    def load(cls, path: Path, settings: Settings, metrics: Metrics, arm: str) -> Served:
        """Opens bundle and store, and holds the graphs against the certificate's first case.

        Raises BundleError where this machine computes something else, and what opening either raises.
        """
        bundle = Bundle.open(path)
        options = {"threads": settings.threads} if settings.backend == "onnxruntime" else {}
        backend = load_backend(settings.backend, bundle, **options)
        for row in self_test(bundle, backend, settings.backend):
            if not row.passed:
                raise BundleError(
                    f"expected {path} to answer as its certificate says; got a {row.quantity} {row.figure:.1e} off "
                    f"(limit {row.limit:.1e}, {row.comparison}); run `deployrec verify {path}` on this machine"
                )
        counts = BundleMetrics(metrics, bundle.manifest.bundle_id, arm)
        store = TimedStore(load_store(settings.store, Layout.of(bundle.manifest)), counts)
        return cls(Recommender(bundle, backend, store=store), store, settings)

    def ask(self, size: int, asked: Asked) -> asyncio.Future[Any]:
        """The answer to come, once all that it changes is committed."""
        return self.batcher.submit(size, asked)

    async def close(self) -> None:
        """Answers all that wait, then closes the store."""
        await self.batcher.close()
        self.recommender.close()

    def _answer(self, batch: Sequence[Job]) -> list[Any]:
        self._metrics.stage["queue"].observe(time.perf_counter() - batch[0].since)
        self._metrics.batch.observe(sum(job.size for job in batch))
        answers: dict[int, Any] = {}
        with self._store.batch():
            for places in _runs(batch):
                asks = [batch[place].ask for place in places]
                try:
                    found: Sequence[Any] = self._together(asks)
                except Exception as error:  # each caller gets it; the next group may do better
                    found = [error] * len(asks)
                answers.update(zip(places, found, strict=True))
        return [answers[place] for place in range(len(batch))]

    def _together(self, asks: list[Any]) -> Sequence[Any]:
        """Answers to asks of one kind that may share their runs."""
        first = asks[0]
        if isinstance(first, Observe):
            return self._observe(asks)
        if isinstance(first, Recommend):
            users = [user for ask in asks for user in ask.users]
            lists = self.recommender.recommend_many(users, **_widest(asks))
            return [lists] * len(asks)
        if isinstance(first, After):
            times = [ask.times for ask in asks]
            return self.recommender.recommend_after_many([ask.items for ask in asks], times=times, **_widest(asks))
        return [first.work(self.recommender)]

    def _observe(self, asks: list[Observe]) -> Sequence[Any]:
        events = asks[0].events if len(asks) == 1 else list(chain.from_iterable(ask.events for ask in asks))
        try:
            if asks[0].choice is None:
                outcomes, lists = self.recommender.observe_many(events), NO_LISTS
            else:
                wanted = _widest(asks)
                outcomes, lists = self.recommender.observe_many(events, wanted.pop("k"), **wanted)
        except DataError as error:
            if len(asks) == 1:
                return [error]
            # Nothing is applied yet: those who sent what is sound shall not suffer from who did not.
            return [answer for ask in asks for answer in self._observe([ask])]
        self._metrics.late.inc(self.recommender.late_events - self._late)
        self._late = self.recommender.late_events
        texts = [outcome._value_ for outcome in outcomes]
        for text, number in Counter(texts).items():
            self._metrics.outcome[text].inc(number)
        ends = accumulate(len(ask.events) for ask in asks)
        return [(texts[end - len(ask.events) : end], lists) for ask, end in zip(asks, ends, strict=True)]


def _runs(batch: Sequence[Job]) -> list[list[int]]:
    """Places of the jobs that may share their runs; events first, so that lists are as new as can be."""
    groups: dict[Any, list[int]] = {}
    for place, job in enumerate(batch):
        ask = job.ask
        alone = isinstance(ask, Call)
        key = (Call, place) if alone else (type(ask), None if ask.choice is None else ask.choice[1:])
        groups.setdefault(key, []).append(place)
    return sorted(groups.values(), key=lambda places: not isinstance(batch[places[0]].ask, Observe))


def _widest(asks: Sequence[Any]) -> dict[str, Any]:
    """The choice that holds those of all asks, which differ in k alone, as arguments of the recommender."""
    choice: Choice = max((ask.choice for ask in asks), key=lambda choice: choice.k)
    return choice._asdict()
