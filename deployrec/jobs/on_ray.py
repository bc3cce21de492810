"""`reencode` on a Ray cluster: an actor for each of its processors, groups handed out as actors get free.

Every process opens the bundle's folder and the store by itself, so both must be reachable from all machines: a store in
Redis, or in LMDB where the cluster is one machine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import ray

from deployrec.errors import ConfigError
from deployrec.files import first_line
from deployrec.jobs.worker import Done, Group, Job, Run, Worker

LOCAL = "local"
WAITING = 2
"""Groups handed to an actor ahead of the one it is at."""


def runner(address: str) -> Run:
    """Runs a job on the cluster at `address` ("auto", "ray://HOST:10001"), or for "local" on one of this machine."""

    def run(job: Job, groups: Iterable[Group]) -> Iterator[Done]:
        started = not ray.is_initialized()
        if started:
            _connect(address)
        try:
            yield from _spread(replace(job, bundle=job.bundle.resolve()), groups)
        finally:
            if started:
                ray.shutdown()

    return run


def _connect(address: str) -> None:
    try:
        ray.init(address=None if address == LOCAL else address, include_dashboard=False, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"expected a Ray cluster at {address}; got {first_line(error)}; start one, or take --ray local"
        ) from None


def _spread(job: Job, groups: Iterable[Group]) -> Iterator[Done]:
    """The answers in the groups' order; few groups are on their way at once."""
    kind: Any = ray.remote(Worker)
    actors = [kind.remote(job) for _ in range(max(1, int(ray.cluster_resources().get("CPU", 1))))]
    waiting: deque[Any] = deque()
    for number, group in enumerate(groups):
        waiting.append(actors[number % len(actors)].encode.remote(group))
        if len(waiting) > WAITING * len(actors):
            yield _answer(waiting.popleft())
    while waiting:
        yield _answer(waiting.popleft())


def _answer(reference: Any) -> Done:
    try:
        done: Done = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from None
    return done
