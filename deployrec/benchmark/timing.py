"""Wall times of single calls: percentiles, interleaved rounds, and the one figure that an export prints."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deployrec.bundle.bundle import Bundle
from deployrec.runtime.backends.base import load_backend


@dataclass(frozen=True)
class Latency:
    """Percentiles and mean of one call's wall time, in seconds."""

    p50: float
    p95: float
    p99: float
    mean: float
    calls: int

    @classmethod
    def of(cls, times: np.ndarray) -> Latency:
        """From the seconds of each call, at least one."""
        p50, p95, p99 = np.percentile(times, (50, 95, 99))
        return cls(float(p50), float(p95), float(p99), float(np.mean(times)), len(times))


def timed(call: Callable[[], object], calls: int) -> np.ndarray:
    """Seconds [calls] of `call` alone, one call after the other."""
    times = np.empty(calls)
    for number in range(calls):
        start = time.perf_counter()
        call()
        times[number] = time.perf_counter() - start
    return times


def measure(call: Callable[[], object], calls: int = 500, warmup: int = 50) -> Latency:
    """Times `call` after `warmup` untimed calls."""
    timed(call, warmup)
    return Latency.of(timed(call, calls))


def step_latency(
    bundle: Bundle, history: int = 0, threads: int = 1, calls: int = 500, seed: int = 0, k: int = 10
) -> Latency:
    """One event of one user after `history` others: step, scores of all items and the k best, on ONNX Runtime.

    Of a model that steps; `window_latency` times those that read their window again.
    """
    backend = load_backend("onnxruntime", bundle, threads=threads)
    manifest = bundle.manifest
    draw = np.random.default_rng(seed)
    state = manifest.state.zeros(1)

    def step() -> None:
        moved, _ = backend.step(draw.integers(1, manifest.num_items + 1, 1), None, min(k, manifest.num_items), state)
        for name, tensor in moved.state.items():
            state[name][...] = tensor

    for _ in range(history):
        step()
    return measure(step, calls)


def window_latency(bundle: Bundle, threads: int = 1, calls: int = 100, seed: int = 0, k: int = 10) -> Latency:
    """One list of one user by reading the newest `manifest.window` events: encode, scores and the k best."""
    backend = load_backend("onnxruntime", bundle, threads=threads)
    manifest = bundle.manifest
    items = np.random.default_rng(seed).integers(1, manifest.num_items + 1, (1, manifest.window))
    lengths, state = np.array([manifest.window]), manifest.state.zeros(1)

    def read() -> None:
        moved = backend.encode(items, lengths, state)
        backend.score(moved.user, None, min(k, manifest.num_items))

    return measure(read, calls, warmup=10)
