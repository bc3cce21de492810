"""Which bundle is served: one for good, or the one that current.json names; held against its certificate, flipped."""

from __future__ import annotations

import asyncio
import logging
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from deployrec.bundle.current import current
from deployrec.errors import DeployrecError
from deployrec.server.metrics import Metrics
from deployrec.server.problems import RequestError
from deployrec.server.served import Served
from deployrec.server.settings import Settings

log = logging.getLogger("deployrec.server")
EVERY = 0.5
"""Seconds between two looks at current.json, and before another try after a failure."""


class Arms(NamedTuple):
    """What answers at one moment: the bundle, and a second one for a share of the users."""

    main: Served
    canary: Served | None = None
    share: float = 0.0

    def of(self, user: str) -> Served:
        """The one that answers a user: always the same, by the user's hash."""
        if self.canary is None or position(user) >= self.share:
            return self.main
        return self.canary


class Bundles:
    """Keeps `arms` as current.json says, for the time of `follow`; None until the first bundle is ready."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings, self.metrics = settings, metrics
        self.arms: Arms | None = None
        self._loaded: dict[str, Path] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def now(self) -> Arms:
        """What is to answer a request from its beginning to its end; raises a 503 before the first is ready."""
        if self.arms is None:
            raise RequestError(
                503, "expected a bundle to be ready; got one still loading; ask /v2/health/ready", {"Retry-After": "1"}
            )
        return self.arms

    async def follow(self) -> None:
        """Loads what is wanted, whenever that changes; on a failure goes on with what is served and tries again."""
        told = ""
        while True:
            try:
                await self._follow_once()
                told = ""
            except Exception as error:  # whatever a new bundle ends in, the one that is served goes on
                if str(error) != told:  # once, not at every try
                    log.error(str(error), exc_info=not isinstance(error, DeployrecError))
                    self.metrics.failed_flips.inc()
                told = str(error)
            await asyncio.sleep(EVERY)

    async def close(self) -> None:
        """Answers all that wait, then closes every bundle."""
        arms, self.arms = self.arms, None
        for served in arms[:2] if arms else ():
            if served is not None:
                await served.close()
        await asyncio.gather(*self._closing)

    async def _follow_once(self) -> None:
        chosen = wanted(self.settings)
        if chosen == self._loaded:
            return
        before = self.arms
        served = {"main": before and before.main, "canary": before and before.canary}
        new = {
            arm: served[arm] if self._loaded.get(arm) == path else await self._load(path, arm)
            for arm, path in chosen.items()
        }
        main = new["main"]
        assert main is not None
        self.arms, self._loaded = Arms(main, new.get("canary"), self.settings.share), chosen
        if before is not None:
            self.metrics.flips.inc()
        for arm, old in served.items():
            if old is not None and old is not new.get(arm):
                self._retire(old, arm)
        log.info("serving", extra={"bundles": {arm: each.bundle_id for arm, each in new.items() if each}})

    async def _load(self, path: Path, arm: str) -> Served:
        served = await asyncio.to_thread(Served.load, path, self.settings, self.metrics, arm)
        self.metrics.serving.labels(served.bundle_id, arm).set(1)
        return served

    def _retire(self, old: Served, arm: str) -> None:
        """Closes a bundle once it has answered all that it was asked."""
        self.metrics.serving.labels(old.bundle_id, arm).set(0)
        task = asyncio.create_task(old.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def wanted(settings: Settings) -> dict[str, Path]:
    """The bundle's folder of each arm, as settings and current.json say now."""
    if settings.bundle is not None:
        return {"main": Path(settings.bundle)}
    folder = Path(settings.bundles or "")
    found = {"main": folder / current(folder)}
    if settings.canary is not None and settings.canary != found["main"].name:
        found["canary"] = folder / settings.canary
    return found


def position(user: str) -> float:
    """A user's place from 0 up to but not including 1, evenly spread."""
    return int.from_bytes(blake2b(user.encode(), digest_size=8).digest(), "big") / 2**64
