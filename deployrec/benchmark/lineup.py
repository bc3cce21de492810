"""Who races: each bundle by steps and by re-encoding, on every backend that is present here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from deployrec.benchmark.bundles import RANDOM
from deployrec.benchmark.calls import CALLS
from deployrec.benchmark.config import BenchmarkConfig
from deployrec.benchmark.contenders import CallContender, Contender, GraphContender, TorchContender
from deployrec.benchmark.report import ADVANCE, ENCODE, SCORE, STEP, Skipped, Subject
from deployrec.bundle.bundle import Bundle
from deployrec.errors import ConfigError, DeployrecError
from deployrec.export.again import torch_model
from deployrec.runtime.backends.base import backends, load_backend
from deployrec.runtime.stores.base import Layout

TORCH = ("torch", "torch.compile", "torch-cuda")
RESIZABLE = ("native", "onnxruntime", "onnxruntime-cuda", "torch", "torch-cuda")
"""Backends that compile nothing for their catalogue."""


class Entry(NamedTuple):
    """A subject and the bundle that is measured for it: its own, or one over another catalogue."""

    subject: Subject
    bundle: Bundle


def entry_of(bundle: Bundle, others: Sequence[Entry]) -> Entry:
    """The bundle as a subject, under a label that the others do not have."""
    manifest = bundle.manifest
    key = manifest.model["key"]
    same = sum(entry.subject.model == key for entry in others)
    return Entry(
        Subject(
            label=f"{key} {same + 1}" if same else key,
            model=key,
            config=manifest.model["config"],
            bundle_id=manifest.bundle_id,
            random_weights=manifest.training == RANDOM,
            num_items=manifest.num_items,
            dim=manifest.dim,
            exact_up_to=manifest.state.exact_up_to,
            state_bytes=manifest.state.bytes,
            user_bytes=Layout.of(manifest).record_bytes,
            table_bytes=4 * (manifest.num_items + 1) * manifest.dim,
        ),
        bundle,
    )


def backend_names() -> list[str]:
    """All that `BenchmarkConfig.backends` may name, whether or not it is present here."""
    others = [name for name in backends() if name != "onnxruntime"]
    return ["onnxruntime", "onnxruntime-cuda", *TORCH, *others]


def contenders_of(
    entries: Sequence[Entry], config: BenchmarkConfig, threads: int, resized: bool
) -> tuple[list[Contender], list[Skipped]]:
    """Every way to answer with `threads` threads, and the backends that cannot be used and why.

    `resized` entries run on no backend that would first compile for their catalogue.
    """
    known = backend_names()
    unknown = set(config.backends) - set(known)
    if unknown:
        raise ConfigError(f"expected backends out of {', '.join(known)}; got '{min(unknown)}'; name one of them")
    found: list[Contender] = []
    skipped: list[Skipped] = []
    for entry in entries:
        for name in config.backends or known:
            if resized and name not in RESIZABLE:
                skipped.append(Skipped(f"{name} over other catalogues", "it would compile anew for each"))
            elif name.endswith("-cuda") and threads != config.base_threads:
                skipped.append(Skipped(f"{name} with {threads} threads", "the work is on the GPU"))
            else:
                try:
                    found += _open(entry, name, config.k, threads)
                except DeployrecError as error:
                    # Reports travel; a path of this machine means nothing elsewhere.
                    skipped.append(Skipped(name, str(error).replace(str(entry.bundle.path), "BUNDLE")))
    return found, skipped


def _open(entry: Entry, name: str, k: int, threads: int) -> list[Contender]:
    label, bundle = entry.subject.label, entry.bundle
    k, steps = min(k, bundle.manifest.num_items), entry.subject.state_bytes > 0
    if name in TORCH:
        device = "cuda" if name.endswith("-cuda") else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("expected a CUDA device for torch; got none; use another backend")
        model = torch_model(bundle).to(device)
        ways = (STEP, ENCODE) if steps else (ENCODE,)
        return [TorchContender(label, way, name, model, bundle.manifest, k) for way in ways]
    if name.startswith("onnxruntime"):
        device = "cuda" if name.endswith("-cuda") else "cpu"
        runner = load_backend("onnxruntime", bundle, threads=threads, device=device)
    elif name == "native":
        runner = load_backend(name, bundle, threads=threads)
    else:
        runner = load_backend(name, bundle)
    graphs = (STEP, ENCODE, ADVANCE, SCORE) if steps else (ENCODE, SCORE)
    found: list[Contender] = [GraphContender(label, graph, name, bundle.manifest, runner, k) for graph in graphs]
    return [*found, *(CallContender(label, call, name, bundle, runner, k) for call in CALLS)]
