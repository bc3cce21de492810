"""ONNX Runtime's CUDA provider beside its CPU provider: step and encode of a bundle at MovieLens-1M's sizes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import machine, markdown, write_results
from deployrec.benchmark.bundles import random_bundle
from deployrec.benchmark.timing import measure
from deployrec.bundle.bundle import Bundle
from deployrec.errors import ConfigError
from deployrec.runtime.backends.base import Backend, load_backend

ITEMS, HISTORY, K = 3416, 200, 10


def main(out: Path) -> None:
    """Writes gpu-serving.json: medians in seconds, or why the provider cannot be used."""
    cases: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for key in ("recblr", "glintru"):
            bundle = random_bundle(key, ITEMS, Path(folder) / key, dim=64)
            for device in ("cuda", "cpu"):
                try:
                    backend = load_backend("onnxruntime", bundle, device=device)
                except ConfigError as error:
                    skipped[device] = str(error)
                    continue
                for batch in (1, 64, 512):
                    for name, call in calls(backend, bundle, batch).items():
                        median = measure(call, calls=30, warmup=5).p50
                        cases.append({"model": key, "device": device, "batch": batch, "call": name, "seconds": median})
                        results = {"machine": machine("cuda"), "cases": cases, "skipped": skipped}
                        write_results("gpu-serving", results, out)
    rows = [[c["model"], c["device"], str(c["batch"]), c["call"], f"{c['seconds'] * 1e3:.3f}"] for c in cases]
    print(markdown(["model", "device", "batch", "call", "median ms"], rows))


def calls(backend: Backend, bundle: Bundle, batch: int) -> dict[str, Callable[[], object]]:
    """A step, and a whole history, of `batch` users."""
    items = np.random.default_rng(0).integers(1, ITEMS + 1, (batch, HISTORY))
    lengths = np.full(batch, HISTORY)
    state = {t.name: np.zeros((batch, *t.shape), np.float32) for t in bundle.manifest.state.tensors}
    return {
        "step": lambda: backend.step(items[:, 0].copy(), None, K, state),
        f"encode {HISTORY}": lambda: backend.score(backend.encode(items, lengths, state).user, None, K),
    }
