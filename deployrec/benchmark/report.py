"""What a benchmark found, as plain values: the terminal, the demo, the charts and the JSON all read this."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from deployrec.benchmark.config import AXES, BenchmarkConfig
from deployrec.benchmark.timing import Latency
from deployrec.errors import DataError
from deployrec.files import atomic_write, canonical_json, first_line

SCHEMA_VERSION = 2
STEP, ENCODE = "step", "encode"
ADVANCE, SCORE = "advance", "score"
"""The graphs: `encode` with the list after it, `advance` without one, `score` of user vectors that are there."""


@dataclass(frozen=True)
class Subject:
    """One model under test; sizes in bytes."""

    label: str
    """what cells call it: the model's key, with a number where two bundles share one"""
    model: str
    config: dict[str, Any]
    bundle_id: str
    random_weights: bool
    num_items: int
    dim: int
    exact_up_to: int | None
    """events that the state holds; on a longer history a "step" encodes the newest so many again"""
    state_bytes: int
    """of one user's state"""
    user_bytes: int
    """of everything the runtime stores of one user: state, user vector, seen items, remembered event ids"""
    table_bytes: int
    """of the item table"""


@dataclass(frozen=True)
class Cell:
    """The latency of one way to answer at one point. mode: "step", or "encode" for the whole history read again; on
    the batch axis also "advance" and "score", and the public calls by their names (see calls.py)."""

    label: str
    mode: str
    backend: str
    batch: int
    history: int
    catalogue: int
    threads: int
    latency: Latency

    @property
    def throughput(self) -> float:
        """Users answered per second."""
        return self.batch / self.latency.mean


@dataclass(frozen=True)
class Skipped:
    """A cell or a whole backend that was not measured, and why, in words."""

    what: str
    reason: str


@dataclass(frozen=True)
class Stage:
    """Seconds (median) of one part of a request, or of a start; see stages.py for the names."""

    label: str
    backend: str
    name: str
    seconds: float


@dataclass(frozen=True)
class Peer:
    """Another project's code in the race; differences: of its answers from its own, uncompiled ones, in words, by
    batch size and history."""

    label: str
    includes: str
    versions: dict[str, str]
    window: int | None
    differences: dict[str, str]


@dataclass(frozen=True)
class BenchmarkReport:
    """Everything of one run. `cancelled`: the run was stopped early and holds what was measured until then."""

    config: BenchmarkConfig
    machine: dict[str, Any]
    versions: dict[str, str]
    data: dict[str, Any]
    subjects: list[Subject] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    created: str = ""
    cancelled: bool = False
    peers: list[Peer] = field(default_factory=list)

    def curve(self, axis: str, label: str, mode: str, backend: str) -> list[Cell]:
        """The cells along one of AXES, all else at the base, in rising order. Peers stand at the first catalogue."""
        sizes = {subject.label: subject.num_items for subject in self.subjects}
        base = self.config.base(sizes.get(label, self.subjects[0].num_items))
        others = [name for name in AXES if name != axis]
        found = [
            cell
            for cell in self.cells
            if (cell.label, cell.mode, cell.backend) == (label, mode, backend)
            and all(getattr(cell, name) == getattr(base, name) for name in others)
        ]
        return sorted(found, key=lambda cell: getattr(cell, axis))

    def fastest(self, axis: str, label: str, mode: str, but: tuple[str, ...] = ()) -> list[Cell]:
        """Like `curve`, each cell of the backend that is fastest there (p50), of all `but` these."""
        best: dict[int, Cell] = {}
        for backend in self.backends(label, mode):
            if backend in but:
                continue
            for cell in self.curve(axis, label, mode, backend):
                place = getattr(cell, axis)
                if place not in best or cell.latency.p50 < best[place].latency.p50:
                    best[place] = cell
        return [best[place] for place in sorted(best)]

    def backends(self, label: str, mode: str) -> list[str]:
        """Backends that have cells of this kind, in the order of their first cell."""
        return list(dict.fromkeys(c.backend for c in self.cells if (c.label, c.mode) == (label, mode)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("subjects", "cells", "skipped", "stages", "peers"):
            content[name] = [asdict(row) for row in content[name]]
        return {**content, "config": self.config.to_dict(), "schema_version": SCHEMA_VERSION}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BenchmarkReport:
        """Reads what `to_dict` gave; raises DataError for anything else."""
        try:
            content = dict(data)
            version = content.pop("schema_version")
            if version != SCHEMA_VERSION:
                raise ValueError(f"schema {version}")
            content["config"] = BenchmarkConfig.from_dict(content["config"])
            content["cells"] = [Cell(**{**cell, "latency": Latency(**cell["latency"])}) for cell in content["cells"]]
            for name, kind in (("subjects", Subject), ("skipped", Skipped), ("stages", Stage), ("peers", Peer)):
                content[name] = [kind(**row) for row in content[name]]
            return cls(**content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"expected a benchmark report of schema {SCHEMA_VERSION}; got {first_line(error)}; measure again"
            ) from None

    def save(self, path: str | Path) -> None:
        """Writes the report as JSON, whole or not at all; makes the folder."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, canonical_json(self.to_dict()))

    @classmethod
    def load(cls, path: str | Path) -> BenchmarkReport:
        """Reads a file that `save` wrote; raises DataError where it cannot."""
        try:
            content = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise DataError(f"expected a benchmark report in {path}; got {first_line(error)}; measure again") from None
        return cls.from_dict(content)
