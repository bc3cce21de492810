"""The server's own counts, written by its own classes, as the page reads them."""

from __future__ import annotations

from math import inf

import pytest

from deployrec.runtime import Outcome
from deployrec.server.metrics import BundleMetrics, Metrics
from deployrec_demo.server_metrics import Sample, between, quantile, read, restarted


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def sample(metrics: Metrics, at: float) -> Sample:
    return read(metrics.text().decode(), at)


def answer(metrics: Metrics, route: str, seconds: float, status: int = 200, count: int = 1) -> None:
    for _ in range(count):
        metrics.requests.labels(route, status).inc()
        metrics.latency.labels(route).observe(seconds)


def test_what_happened_between_two_readings(metrics: Metrics) -> None:
    main = BundleMetrics(metrics, "0123456789abcdef", "main")
    answer(metrics, "/v1/events", 0.2, count=7)
    main.batch.observe(100)
    first = sample(metrics, 10.0)
    answer(metrics, "/v1/events", 0.0004, count=99)
    answer(metrics, "/v1/recommendations", 0.9, status=429)
    for size in (1, 4, 4, 200):
        main.batch.observe(size)
    main.outcome[str(Outcome.APPLIED)].inc(209)
    main.outcome[str(Outcome.UNKNOWN_ITEM)].inc(3)
    metrics.waiting.set(12)
    last = sample(metrics, 14.0)
    found = between(first, last)
    assert found.rate == 25
    assert found.failed == 1
    assert found.p50 is not None
    assert 0.00025 < found.p50 <= 0.0005
    assert found.p99 == pytest.approx(0.0005)
    assert found.mean_size == 209 / 4
    assert {bound: count for bound, count in found.sizes.items() if count} == {1: 1, 4: 2, 256: 1}
    assert found.outcomes == {"applied": 209, "unknown item": 3}
    assert last.waiting == 12
    assert last.requests == 107


def test_watchers_are_not_counted(metrics: Metrics) -> None:
    for route in ("/metrics", "/v2/health/live", "/v2/health/ready"):
        answer(metrics, route, 5.0)
    answer(metrics, "/v1/events", 0.002)
    found = between(Sample(0.0), sample(metrics, 1.0))
    assert found.rate == 1
    assert found.p99 is not None
    assert found.p99 <= 0.0025


def test_bundles_and_their_arms_are_named(metrics: Metrics) -> None:
    metrics.serving.labels("aaa", "main").set(1)
    metrics.serving.labels("bbb", "canary").set(1)
    metrics.serving.labels("ccc", "main").set(0)
    assert sorted(sample(metrics, 0.0).served) == [("aaa", "main"), ("bbb", "canary")]


def test_a_server_that_did_nothing_has_no_percentiles(metrics: Metrics) -> None:
    found = between(sample(metrics, 0.0), sample(metrics, 1.0))
    assert (found.rate, found.p50, found.p99, found.mean_size, found.outcomes) == (0, None, None, None, {})


def test_a_server_started_again_is_seen(metrics: Metrics) -> None:
    answer(metrics, "/v1/events", 0.002, count=3)
    before = sample(metrics, 0.0)
    again = Metrics()
    answer(again, "/v1/events", 0.1, count=5)
    assert restarted(before, sample(again, 1.0))
    answer(metrics, "/v1/events", 0.1)
    assert not restarted(before, sample(metrics, 1.0))


def test_quantiles_are_prometheus_own() -> None:
    cumulative = {0.1: 10.0, 0.2: 30.0, inf: 40.0}
    assert quantile(cumulative, 0.25) == pytest.approx(0.1)
    assert quantile(cumulative, 0.5) == pytest.approx(0.15)
    assert quantile(cumulative, 0.99) == 0.2
    assert quantile({}, 0.5) is None
