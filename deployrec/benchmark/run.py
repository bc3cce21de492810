"""`run_benchmark`: races every contender along every axis and returns what it found."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from deployrec.benchmark.bundles import resized_bundle, rival_bundle
from deployrec.benchmark.config import AXES, BenchmarkConfig, Point
from deployrec.benchmark.contenders import Contender
from deployrec.benchmark.lineup import Entry, contenders_of, entry_of
from deployrec.benchmark.machine import machine, versions
from deployrec.benchmark.race import Timer, race
from deployrec.benchmark.replay import Replay, Sessions
from deployrec.benchmark.report import BenchmarkReport, Cell, Skipped, Stage
from deployrec.benchmark.stages import stages_of
from deployrec.benchmark.timing import Latency
from deployrec.bundle.bundle import Bundle
from deployrec.data import Dataset, load_dataset
from deployrec.errors import ConfigError
from deployrec.files import first_line
from deployrec.progress import Progress

Job = tuple[Contender, Point]

MOST_SETS, USERS = 16, 256
"""Sets of sessions that the calls of a cell take turns over, no more than hold so many users."""


def run_benchmark(
    bundles: Sequence[Bundle | str | Path],
    config: BenchmarkConfig | None = None,
    *,
    dataset: Dataset | None = None,
    peers: Sequence[Contender] = (),
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    watch: Callable[[Callable[[], BenchmarkReport]], None] | None = None,
) -> BenchmarkReport:
    """Measures bundles (folders or opened ones), the rivals of `config` and `peers` on this machine.

    dataset: whose sessions are replayed (default: the built-in sample). `progress` hears what comes next before every
    turn. `cancelled` is asked there too; once it is true, the report comes back with `cancelled` set and what was
    measured until then. `watch` is handed, before anything is measured, a function that reports what is known so
    far, which any thread may call: the export of a rival or a slow call can keep `cancelled` unasked for long.
    Raises ConfigError without a bundle and for an unknown backend or rival, BundleError for a broken bundle.
    """
    if not bundles:
        raise ConfigError("expected at least one bundle; got none; run `deployrec export` first")
    opened = [bundle if isinstance(bundle, Bundle) else Bundle.open(bundle) for bundle in bundles]
    dataset = dataset or load_dataset("sample")
    with tempfile.TemporaryDirectory(prefix="deployrec-bench-") as scratch:
        run = _Run(config or BenchmarkConfig(), dataset, Path(scratch), progress, cancelled)
        if watch:
            watch(run.report)
        with suppress(_StoppedError):
            run.everything(opened, peers)
        return run.report()


class _StoppedError(Exception):
    pass


@dataclass
class _Run:
    config: BenchmarkConfig
    dataset: Dataset
    scratch: Path
    progress: Progress | None
    cancelled: Callable[[], bool] | None
    entries: list[Entry] = field(default_factory=list)
    times: dict[tuple[str, str, str, Point], list[np.ndarray]] = field(default_factory=dict)
    warm: dict[tuple[str, str, str, Point], np.ndarray] = field(default_factory=dict)
    """Times of warm-ups: all there is of a cell whose first turn has not come."""
    skipped: dict[str, Skipped] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    done: int = 0
    total: int = 0
    stopped: bool = False

    def everything(self, bundles: list[Bundle], peers: Sequence[Contender]) -> None:
        for bundle in bundles:
            self.entries.append(entry_of(bundle, self.entries))
        for key in self.config.rivals:
            self.before(f"exporting {key} with random weights")
            self.entries.append(entry_of(rival_bundle(key, bundles[0].manifest.num_items), self.entries))
        home = [*self.contenders(self.entries, self.config.base_threads), *peers]
        places = [(axis, c, p) for c in home for axis in AXES for p in self.config.points(axis, c.num_items)]
        plan = [(axis, c, p) for axis, c, p in places if c.on(axis, p)]
        self.total = self.done + len(plan) * (2 + self.config.rounds) + len(self.entries) * self.config.stages
        for entry in self.entries if self.config.stages else ():
            self.before(f"the parts of one request to {entry.subject.label}")
            self.stages += stages_of(entry, Replay(self.dataset, self.config.seed), self.config)
        for axis in ("history", "batch"):
            self.race([(c, p) for _axis, c, p in plan if _axis == axis])
        self.race(list(self.threads_axis(home, peers)))
        for jobs in self.catalogue_axis(home):
            self.race(jobs)

    def threads_axis(self, home: Sequence[Contender], peers: Sequence[Contender]) -> Iterator[Job]:
        """Sessions fix their threads when they are opened: every other number needs contenders of its own."""
        for threads in sorted({*self.config.threads, self.config.base_threads} if self.config.threads else ()):
            own = threads == self.config.base_threads
            for contender in home if own else [*self.contenders(self.entries, threads), *peers]:
                point = replace(self.config.base(contender.num_items), threads=threads)
                if contender.on("threads", point):
                    yield contender, point

    def catalogue_axis(self, home: Sequence[Contender]) -> Iterator[list[Job]]:
        """One catalogue after the other, so that only one of each model is in memory."""
        if self.config.catalogue:
            yield self.at_base(home)
        for number in self.config.catalogue:
            entries = []
            for entry in self.entries:
                if entry.subject.num_items == number:
                    continue
                self.before(f"{entry.subject.label} over {number:,} items", advance=0)
                folder = self.scratch / f"{entry.subject.label}-{number}"
                entries.append(entry._replace(bundle=resized_bundle(entry.bundle, number, folder, self.config.seed)))
            yield self.at_base(self.contenders(entries, self.config.base_threads, resized=True))

    def at_base(self, contenders: Sequence[Contender]) -> list[Job]:
        """Each at the base of its own catalogue."""
        jobs = [(contender, self.config.base(contender.num_items)) for contender in contenders]
        return [(contender, point) for contender, point in jobs if contender.on("catalogue", point)]

    def contenders(self, entries: list[Entry], threads: int, resized: bool = False) -> list[Contender]:
        found, absent = contenders_of(entries, self.config, threads, resized)
        for skipped in absent:
            if skipped.what.partition(" ")[0] not in self.skipped:  # an absent backend is absent everywhere
                self.skipped.setdefault(skipped.what, skipped)
        return found

    def race(self, jobs: list[Job]) -> None:
        """Prepares all jobs, lets them take turns, and keeps their times."""
        timers: list[Timer] = []
        ready: list[Job] = []
        for contender, point in jobs:
            what = describe(contender, point)
            self.before(what)
            needed = contender.bytes(point)
            if needed > self.config.max_bytes:
                reason = f"needs about {needed / 1e9:.1f} GB, above the limit of {self.config.max_bytes / 1e9:.1f} GB"
                self.skipped[what] = Skipped(what, reason)
                continue
            try:
                timers.append(contender.prepare(point, self.sessions(contender, point)))
                ready.append((contender, point))
            except Exception as error:  # a backend may fail in any way of its own; the others still race
                self.fail((contender, point), error)

        def before(index: int) -> bool:
            with suppress(_StoppedError):
                self.before(describe(*ready[index]))
            return not self.stopped

        def key(index: int) -> tuple[str, str, str, Point]:
            contender, point = ready[index]
            return contender.label, contender.mode, contender.backend, point

        def warmed(index: int, times: np.ndarray) -> None:
            self.warm[key(index)] = times

        def took(index: int, times: np.ndarray) -> None:
            self.times.setdefault(key(index), []).append(times)

        race(
            timers,
            seconds=self.config.seconds,
            rounds=self.config.rounds,
            seed=self.config.seed,
            before=before,
            failed=lambda index, error: self.fail(ready[index], error),
            warmed=warmed,
            took=took,
        )
        if self.stopped:
            raise _StoppedError
        self.warm.clear()

    def fail(self, job: Job, error: Exception) -> None:
        what = describe(*job)
        self.skipped[what] = Skipped(what, f"{type(error).__name__}: {first_line(error)}")

    def sessions(self, contender: Contender, point: Point) -> list[Sessions]:
        replay = Replay(self.dataset, self.config.seed)
        sets = max(1, min(MOST_SETS, USERS // point.batch))
        return [replay.sessions(point, number) for number in range(sets)]

    def before(self, what: str, advance: int = 1) -> None:
        """Tells the progress; raises _StoppedError where the caller has asked for an end."""
        if self.cancelled and self.cancelled():
            self.stopped = True
            raise _StoppedError
        if self.progress:
            self.progress(self.done, max(self.total, self.done), what)
        self.done += advance

    def report(self) -> BenchmarkReport:
        warm = {key: [times] for key, times in list(self.warm.items())}
        cells = [
            Cell(label, mode, backend, p.batch, p.history, p.catalogue, p.threads, Latency.of(np.concatenate(parts)))
            for (label, mode, backend, p), parts in (warm | dict(list(self.times.items()))).items()
        ]
        return BenchmarkReport(
            config=self.config,
            machine=machine(),
            versions=versions(),
            data={"name": self.dataset.name, "digest": self.dataset.digest},
            subjects=[entry.subject for entry in self.entries],
            cells=cells,
            skipped=list(self.skipped.values()),
            stages=self.stages,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            cancelled=self.stopped,
        )


def describe(contender: Contender, point: Point) -> str:
    """A cell in words."""
    return (
        f"{contender.label} {contender.mode} on {contender.backend}: batch {point.batch}, history {point.history:,}, "
        f"{point.catalogue:,} items, {point.threads} thread{'s' * (point.threads > 1)}"
    )
