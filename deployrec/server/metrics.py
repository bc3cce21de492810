"""What Prometheus reads at /metrics."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from deployrec.runtime import Outcome
from deployrec.runtime.stores.base import ConflictError, Layout, Rows, Store

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The client's own variable: where the processes of one server put their counts together."""


class Metrics:
    """All counts of one process; those of a bundle carry its id's beginning and its arm, main or canary."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        arm = ("bundle", "arm")
        self.requests = Counter("deployrec_requests", "answers", ("route", "status"), registry=registry)
        self.latency = Histogram(
            "deployrec_request_seconds", "from head to answer", ("route",), registry=registry, buckets=SECONDS
        )
        self.stages = Histogram(
            "deployrec_stage_seconds",
            "of a batch: longest wait (queue), read, run, write",
            (*arm, "stage"),
            registry=registry,
            buckets=SECONDS,
        )
        self.batches = Histogram(
            "deployrec_batch_size", "events or users of a batch", arm, registry=registry, buckets=SIZES
        )
        self.events = Counter("deployrec_events", "events by what became of them", (*arm, "outcome"), registry=registry)
        self.users = Gauge("deployrec_users", "users in a store of this process alone", arm, registry=registry)
        self.new_users = Counter(
            "deployrec_new_users", "users who were not in the store before", arm, registry=registry
        )
        self.late = Counter(
            "deployrec_late_events", "applied events older than the user's newest", arm, registry=registry
        )
        self.conflicts = Counter(
            "deployrec_conflicts", "users whose record another process changed meanwhile", arm, registry=registry
        )
        self.flips = Counter("deployrec_flips", "changes of the bundle that is served", registry=registry)
        self.failed_flips = Counter(
            "deployrec_failed_flips", "bundles that could not be loaded or failed their self-test", registry=registry
        )
        self.serving = Gauge(
            "deployrec_bundle_info", "1 for a bundle that is served", ("bundle_id", "arm"), registry=registry,
            multiprocess_mode="livemax",
        )  # fmt: skip
        self.waiting = Gauge(
            "deployrec_waiting", "events or users that wait for a batch", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip

    def text(self) -> bytes:
        """In Prometheus' text format, those of all processes of the server."""
        if FOLDER not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)
        return generate_latest(together)


class BundleMetrics:
    """The counts of one bundle."""

    def __init__(self, metrics: Metrics, bundle_id: str, arm: str) -> None:
        labels = (bundle_id[:12], arm)
        self.stage = {name: metrics.stages.labels(*labels, name) for name in ("queue", "read", "run", "write")}
        self.batch = metrics.batches.labels(*labels)
        self.conflicts = metrics.conflicts.labels(*labels)
        self.late = metrics.late.labels(*labels)
        self.new_users = metrics.new_users.labels(*labels)
        self._users = lambda: metrics.users.labels(*labels)
        self.outcome = {text: metrics.events.labels(*labels, text.replace(" ", "_")) for text in map(str, Outcome)}

    @cached_property
    def users(self) -> Gauge:
        """There from its first use on: a store that cannot tell shall not say 0."""
        return self._users()


class TimedStore:
    """A store, and the time that a batch spent in it; called by one thread at a time, as a store is."""

    def __init__(self, store: Store, metrics: BundleMetrics) -> None:
        self.store, self.metrics = store, metrics
        self.layout: Layout = store.layout
        self.seconds = {"read": 0.0, "write": 0.0}

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Around one batch, whose stages are then counted."""
        self.seconds = {"read": 0.0, "write": 0.0}
        start = time.perf_counter()
        yield
        run = time.perf_counter() - start - sum(self.seconds.values())
        for stage, seconds in {**self.seconds, "run": run}.items():
            self.metrics.stage[stage].observe(seconds)
        if isinstance(self.store, Sized):
            self.metrics.users.set(len(self.store))

    def read(self, users: Sequence[str]) -> Rows:
        start = time.perf_counter()
        rows = self.store.read(users)
        self.seconds["read"] += time.perf_counter() - start
        return rows

    def write(self, users: Sequence[str], rows: Rows) -> None:
        start, new = time.perf_counter(), int(np.count_nonzero(rows.version == 1))
        try:
            self.store.write(users, rows)
            self.metrics.new_users.inc(new)
        except ConflictError as error:
            self.metrics.conflicts.inc(len(error.users))
            raise
        finally:
            self.seconds["write"] += time.perf_counter() - start

    def forget(self, users: Sequence[str]) -> int:
        return self.store.forget(users)

    def users(self) -> Iterator[str]:
        return self.store.users()

    def history(self, users: Sequence[str]) -> list[list[str] | None]:
        return self.store.history(users)

    def meta(self) -> dict[str, Any]:
        return self.store.meta()

    def set_meta(self, meta: Mapping[str, Any]) -> None:
        self.store.set_meta(meta)

    def close(self) -> None:
        self.store.close()
