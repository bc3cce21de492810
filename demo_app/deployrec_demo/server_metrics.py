"""What a running `deployrec serve` says of itself: its /metrics read twice, and what happened in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import TypeVar

from deployrec.extras import missing_package

PROBES = ("/metrics", "/v2/health/live", "/v2/health/ready")
"""Routes that are asked by watchers, not by users."""
Name = TypeVar("Name", float, str)


@dataclass(frozen=True)
class Sample:
    """All counts since the server's start, at `at` (time.monotonic() of the reading).

    latency, batches: requests and batches that took up to so many seconds or held up to so many events, cumulative;
    outcomes: events by what became of them; served: (bundle id, "main" or "canary").
    """

    at: float
    requests: float = 0.0
    failed: float = 0.0
    waiting: float = 0.0
    latency: Mapping[float, float] = field(default_factory=dict)
    batches: Mapping[float, float] = field(default_factory=dict)
    batch_sum: float = 0.0
    outcomes: Mapping[str, float] = field(default_factory=dict)
    served: tuple[tuple[str, str], ...] = ()


def read(text: str, at: float) -> Sample:
    """From Prometheus' text format. Raises ConfigError without the package that reads it."""
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ModuleNotFoundError:
        raise missing_package("prometheus_client") from None
    latency: defaultdict[float, float] = defaultdict(float)
    batches: defaultdict[float, float] = defaultdict(float)
    outcomes: defaultdict[str, float] = defaultdict(float)
    totals: defaultdict[str, float] = defaultdict(float)
    served = []
    for sample in (sample for family in text_string_to_metric_families(text) for sample in family.samples):
        labels, value = sample.labels, sample.value
        if labels.get("route") in PROBES:
            continue
        match sample.name:
            case "deployrec_requests_total":
                totals["failed" if int(labels["status"]) >= 400 else "answered"] += value
            case "deployrec_request_seconds_bucket":
                latency[float(labels["le"])] += value
            case "deployrec_batch_size_bucket":
                batches[float(labels["le"])] += value
            case "deployrec_batch_size_sum":
                totals["batch"] += value
            case "deployrec_events_total":
                outcomes[labels["outcome"].replace("_", " ")] += value
            case "deployrec_waiting":
                totals["waiting"] += value
            case "deployrec_bundle_info" if value:
                served.append((labels["bundle_id"], labels["arm"]))
    return Sample(
        at=at,
        requests=totals["answered"] + totals["failed"],
        failed=totals["failed"],
        waiting=totals["waiting"],
        latency=latency,
        batches=batches,
        batch_sum=totals["batch"],
        outcomes=outcomes,
        served=tuple(served),
    )


@dataclass(frozen=True)
class Between:
    """What happened from one sample to a later one: `rate` in requests/s, latencies in seconds, None without any."""

    rate: float
    failed: float
    p50: float | None
    p99: float | None
    sizes: dict[float, float]
    """batches that held more than the bound before and up to this one"""
    mean_size: float | None
    outcomes: dict[str, float]


def between(first: Sample, last: Sample) -> Between:
    """For two samples of one life of the server; `restarted` tells."""
    latency, batches = _grown(first.latency, last.latency), _grown(first.batches, last.batches)
    runs = batches.get(inf, 0.0)
    return Between(
        rate=(last.requests - first.requests) / max(last.at - first.at, 1e-9),
        failed=last.failed - first.failed,
        p50=quantile(latency, 0.5),
        p99=quantile(latency, 0.99),
        sizes=_apart(batches),
        mean_size=(last.batch_sum - first.batch_sum) / runs if runs else None,
        outcomes={name: grown for name, grown in _grown(first.outcomes, last.outcomes).items() if grown},
    )


def restarted(first: Sample, last: Sample) -> bool:
    return last.requests < first.requests or any(last.latency.get(le, 0) < n for le, n in first.latency.items())


def quantile(cumulative: Mapping[float, float], share: float) -> float | None:
    """As Prometheus' histogram_quantile: a straight line within the bucket; the last finite bound beyond it."""
    total = cumulative.get(inf, 0.0)
    if not total:
        return None
    below, under = 0.0, 0.0
    for bound, count in sorted(cumulative.items()):
        if count >= share * total:
            return below if bound == inf else below + (bound - below) * (share * total - under) / (count - under)
        below, under = bound, count
    return below


def _grown(first: Mapping[Name, float], last: Mapping[Name, float]) -> dict[Name, float]:
    return {name: value - first.get(name, 0.0) for name, value in last.items()}


def _apart(cumulative: Mapping[float, float]) -> dict[float, float]:
    """Counts of each bucket alone."""
    bounds = sorted(cumulative)
    return {bound: cumulative[bound] - cumulative.get(before, 0.0) for before, bound in pairwise([-inf, *bounds])}
