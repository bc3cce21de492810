"""Where the time of one request goes, and what a start costs: medians of single calls on ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from deployrec.benchmark.config import BenchmarkConfig
from deployrec.benchmark.lineup import Entry
from deployrec.benchmark.replay import Replay
from deployrec.benchmark.report import Stage
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.backends.onnxruntime.backend import OnnxRuntimeBackend
from deployrec.runtime.recommender import Recommender

BACKEND = "onnxruntime"
USERS, WARM_UP = 160, 40
COLD_CALLS = 20
CACHES = 64 * 2**20
"""Bytes that are read and written before a call on cold caches: more than a processor keeps."""


def stages_of(entry: Entry, replay: Replay, config: BenchmarkConfig) -> list[Stage]:
    """The stages of a bundle with a step graph, at the base history (within its window); none for another.

    request = model step + scoring and top-k + state in and out + Python, an `observe_and_recommend` from own ids to
    titles; open: all sessions; first call, cold caches and warm: the step graph.
    """
    bundle, manifest = entry.bundle, entry.bundle.manifest
    if not manifest.state.tensors:
        return []
    begin = time.perf_counter()
    backend = load_backend(BACKEND, bundle, threads=config.base_threads)
    opened = time.perf_counter() - begin
    assert isinstance(backend, OnnxRuntimeBackend)
    window = manifest.window
    point = config.base(manifest.num_items)
    point = type(point)(1, min(point.history, window - 1) if window else point.history, point.catalogue, point.threads)
    sessions = [replay.sessions(point, number) for number in range(USERS)]
    first = _seconds(lambda: _zero_step(backend))
    recommender = Recommender(bundle, backend)
    ids = recommender.catalogue.item_ids
    for user, session in enumerate(sessions):
        recommender.encode_history(user, [ids[row] for row in session.history[0]])
    store, k = recommender.store, min(config.k, manifest.num_items)

    def step(user: int) -> Callable[[], object]:
        session, state = sessions[user], store.read([str(user)]).state
        return lambda: backend.step(session.item, session.exclude, k, state)

    def move(user: int) -> None:
        rows = store.read([str(user)])
        bound = backend.bound("step").binding(1, sessions[user].exclude.shape[1], k)
        for name, buffer in bound.past:
            buffer[...] = rows.state[name]
        after = rows.take([0])
        after.version[...] += 1
        for name, tensor in after.state.items():
            tensor[...] = bound.moved.state[name]
        store.write([str(user)], after)

    times: dict[str, list[float]] = {name: [] for name in ("request", "graph", "score", "state", "warm")}
    for user in range(USERS):
        item = ids[sessions[user].item[0]]
        times["warm"].append(_seconds(step(user)))
        excluded = sessions[user].exclude.shape[1]
        times["graph"].append(_seconds(backend.bound("step").binding(1, excluded, k).run))
        times["score"].append(_seconds(backend.bound("score").binding(1, excluded, k).run))
        times["state"].append(_seconds(partial(move, user)))
        times["request"].append(_seconds(partial(recommender.observe_and_recommend, user, item)))
    median = {name: float(np.median(values[WARM_UP:])) for name, values in times.items()}
    sweep = np.zeros(CACHES, np.uint8)
    cold = []
    for user in range(COLD_CALLS):
        call = step(user)
        sweep += 1
        cold.append(_seconds(call))
    found = {
        "request": median["request"],
        "model step": max(0.0, median["graph"] - median["score"]),
        "scoring and top-k": median["score"],
        "state in and out": median["state"],
        "Python": max(0.0, median["request"] - median["graph"] - median["state"]),
        "open": opened,
        "first call": first,
        "cold caches": float(np.median(cold)),
        "warm": median["warm"],
    }
    return [Stage(entry.subject.label, BACKEND, name, seconds) for name, seconds in found.items()]


def _zero_step(backend: OnnxRuntimeBackend) -> None:
    backend.step(np.ones(1, np.int64), None, 1, backend.manifest.state.zeros(1))


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
