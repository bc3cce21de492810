"""What a benchmark measures: places on four axes, of which one varies at a time."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from deployrec.errors import ConfigError

AXES = ("history", "batch", "catalogue", "threads")


@dataclass(frozen=True)
class Point:
    """`batch` users whose next event arrives after `history` others; `catalogue` items; `threads` of the processor."""

    batch: int
    history: int
    catalogue: int
    threads: int


@dataclass(frozen=True)
class BenchmarkConfig:
    """The values of each axis; while one varies, the others stand at the base: B=1, T=200, the bundle's N, one thread.

    An empty axis is left out. Catalogues other than the bundle's own get random item vectors.
    """

    history: tuple[int, ...] = (1, 10, 20, 50, 100, 200, 500, 1000, 2000)
    batch: tuple[int, ...] = (1, 8, 64, 256, 512)
    catalogue: tuple[int, ...] = (3_000, 10_000, 100_000, 1_000_000)
    threads: tuple[int, ...] = (1, 2)
    base_batch: int = 1
    base_history: int = 200
    base_threads: int = 1
    rivals: tuple[str, ...] = ()  # names or module:Class, measured with random weights at the first bundle's catalogue
    backends: tuple[str, ...] = ()  # names as in `backend_names`; empty takes all that are present
    k: int = 10  # items of every list, or all there are
    seconds: float = 0.5  # wall time a cell may take, all rounds together; every cell gets MIN_CALLS calls
    rounds: int = 5  # all cells of an axis take turns this often
    seed: int = 0
    max_bytes: int = 2_000_000_000  # cells that need more memory are skipped by name
    stages: bool = True  # also split one request into its parts, and time the first call and cold caches

    def __post_init__(self) -> None:
        for name in (*AXES, "base_batch", "base_history", "base_threads", "k", "seconds", "rounds", "max_bytes"):
            values = getattr(self, name)
            for value in values if isinstance(values, tuple) else (values,):
                if value <= 0:
                    raise ConfigError(f"expected {name} above 0; got {value}; ask for positive values")
        if self.seed < 0:
            raise ConfigError(f"expected seed of at least 0; got {self.seed}; ask for another")

    @classmethod
    def quick(cls) -> BenchmarkConfig:
        """A minute for one bundle: the history axis, a few batches and catalogues; ONNX Runtime, C++ and torch."""
        return cls(
            history=(1, 10, 50, 200, 500, 1000, 2000),
            batch=(1, 16, 128),
            catalogue=(10_000, 100_000),
            threads=(1, 2),
            backends=("onnxruntime", "native", "torch"),
            seconds=0.25,
            rounds=3,
        )

    def base(self, catalogue: int) -> Point:
        """The place that every axis passes through, for a bundle of `catalogue` items."""
        return Point(self.base_batch, self.base_history, catalogue, self.base_threads)

    def points(self, axis: str, catalogue: int) -> list[Point]:
        """The places along `axis`, the base among them, in rising order; none if the axis is empty."""
        base = self.base(catalogue)
        values = {*getattr(self, axis), getattr(base, axis)} if getattr(self, axis) else set()
        return [replace(base, **{axis: value}) for value in sorted(values)]

    def to_dict(self) -> dict[str, Any]:
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BenchmarkConfig:
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
        return cls(**values)
