"""The ways to answer that are raced: a model, by steps or by reading the whole history again, on one backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from deployrec.benchmark.calls import MANY, PublicCalls
from deployrec.benchmark.config import Point
from deployrec.benchmark.race import Timer
from deployrec.benchmark.replay import Sessions
from deployrec.benchmark.report import ADVANCE, ENCODE, SCORE, STEP
from deployrec.benchmark.timing import timed
from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import Manifest
from deployrec.export.graphs import EncodeGraph, ScoreGraph, StepGraph
from deployrec.models import SequentialRecommender
from deployrec.runtime.backends.base import Backend
from deployrec.runtime.reader import Reader
from deployrec.runtime.recommender import Recommender

ACTIVATIONS = 32
"""Numbers per event and model channel that an encode holds at its peak, about."""


class Contender(Protocol):
    """One line of a chart, over a catalogue of `num_items`."""

    label: str
    mode: str
    backend: str

    @property
    def num_items(self) -> int: ...

    def on(self, axis: str, point: Point) -> bool:
        """Whether it is measured there."""

    def bytes(self, point: Point) -> int:
        """About how much memory the cell takes."""

    def prepare(self, point: Point, sessions: Sequence[Sessions]) -> Timer:
        """Makes everything ready that is not part of a request."""


@dataclass
class GraphContender:
    """A bundle's graphs on a backend of the runtime; calls take turns over the sessions."""

    label: str
    mode: str
    backend: str
    manifest: Manifest
    runner: Backend
    k: int

    @property
    def num_items(self) -> int:
        return self.manifest.num_items

    def on(self, axis: str, point: Point) -> bool:
        return self.mode in (STEP, ENCODE) or axis == "batch"

    def bytes(self, point: Point) -> int:
        # Every session holds the table, and a copy of it packed for the product.
        tables = 2 * len(self.manifest.graphs) * table_bytes(self.manifest)
        return working_bytes(self.manifest, self.mode, point) + tables

    def prepare(self, point: Point, sessions: Sequence[Sessions]) -> Timer:
        reader = Reader(self.manifest, self.runner)
        calls: list[Callable[[], object]] = []
        for session in sessions:
            if self.mode == SCORE:
                calls.append(self._score(session, reader))
            elif self.mode != ENCODE and reader.carries(point.history + 1):
                calls.append(self._move(session, reader))
            else:
                calls.append(self._encode(read_again(session, self.mode, self.manifest), session.exclude))
        return lambda number: timed(_turns(calls), number)

    def _move(self, session: Sessions, reader: Reader) -> Callable[[], object]:
        state = {name: tensor.copy() for name, tensor in reader.encode(list(session.history)).state.items()}
        if self.mode == ADVANCE:
            return lambda: self.runner.advance(session.item, state)
        return lambda: self.runner.step(session.item, session.exclude, self.k, state)

    def _score(self, session: Sessions, reader: Reader) -> Callable[[], object]:
        user = reader.encode(list(session.history)).user.copy()
        return lambda: self.runner.score(user, session.exclude, self.k)

    def _encode(self, rows: np.ndarray, exclude: np.ndarray) -> Callable[[], object]:
        lengths, start = np.full(len(rows), rows.shape[1]), self.manifest.state.zeros(len(rows))
        if self.mode == ADVANCE:
            return lambda: self.runner.encode(rows, lengths, start)
        return lambda: self.runner.score(self.runner.encode(rows, lengths, start).user, exclude, self.k)


@dataclass
class CallContender:
    """A public call of a recommender on a backend: events and lists by ids, states looked up and stored."""

    label: str
    mode: str
    backend: str
    bundle: Bundle
    runner: Backend
    k: int

    @property
    def num_items(self) -> int:
        return self.bundle.manifest.num_items

    def on(self, axis: str, point: Point) -> bool:
        return axis == "batch" and (self.mode in MANY or point.batch == 1)

    def bytes(self, point: Point) -> int:
        manifest = self.bundle.manifest
        return working_bytes(manifest, STEP, point) + 2 * len(manifest.graphs) * table_bytes(manifest)

    def prepare(self, point: Point, sessions: Sequence[Sessions]) -> Timer:
        calls = PublicCalls(Recommender(self.bundle, self.runner), self.k)
        return calls.timer(self.mode, [s.history for s in sessions], [s.following for s in sessions])


class TorchContender:
    """The same model in torch, eagerly or compiled; scores, exclusion and top-k as in the graphs."""

    def __init__(
        self, label: str, mode: str, backend: str, model: SequentialRecommender, manifest: Manifest, k: int
    ) -> None:
        self.label, self.mode, self.backend = label, mode, backend
        self.model, self.manifest = model, manifest
        self.num_items = manifest.num_items
        self.device = model.embedding.weight.device
        self.window = manifest.window
        self.k = k
        self.step_graph: Callable[..., tuple[Tensor, ...]] = StepGraph(model)
        self.encode_graph: Callable[..., tuple[Tensor, ...]] = EncodeGraph(model)
        self.score_graph: Callable[..., tuple[Tensor, ...]] = ScoreGraph(model)
        if backend == "torch.compile":
            self.step_graph, self.encode_graph, self.score_graph = (
                torch.compile(graph, dynamic=True) for graph in (self.step_graph, self.encode_graph, self.score_graph)
            )

    def on(self, axis: str, point: Point) -> bool:
        return True

    def bytes(self, point: Point) -> int:
        return working_bytes(self.manifest, self.mode, point) + table_bytes(self.manifest)

    def prepare(self, point: Point, sessions: Sequence[Sessions]) -> Timer:
        calls = [self._call(point, session) for session in sessions]

        def run(number: int) -> np.ndarray:
            with torch.inference_mode(), torch_threads(point.threads):
                return timed(_turns(calls), number)

        return run

    def _call(self, point: Point, session: Sessions) -> Callable[[], object]:
        exclude = self._tensor(session.exclude)
        spec = self.model.state_spec
        start = list(self.model.initial_state(point.batch).values())
        if self.mode == STEP and not (self.window and point.history >= self.window):
            lengths = torch.full((point.batch,), point.history, device=self.device)
            with torch.inference_mode(), torch_threads(point.threads):
                _, state = self.model.encode_last(self._tensor(session.history), lengths)
            item, past = self._tensor(session.item), [state[t.name] for t in spec.tensors]
            return lambda: self._finish(self.step_graph(item, exclude, self.k, past))
        items = self._tensor(read_again(session, self.mode, self.manifest))
        lengths = torch.full((point.batch,), items.shape[1], device=self.device)

        def encode() -> None:
            user, *_ = self.encode_graph(items, lengths, start)
            self._finish((*self.score_graph(user, exclude, self.k), user))

        return encode

    def _finish(self, answer: tuple[Tensor, ...]) -> None:
        answer[0].cpu()

    def _tensor(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).to(self.device)


def read_again(session: Sessions, mode: str, manifest: Manifest) -> np.ndarray:
    """What encode reads [B, T]: the history, or for a step beyond the window the newest of it and the item."""
    rows = session.history
    if mode != ENCODE:
        rows = np.concatenate([rows, session.item[:, None]], axis=1)
    return np.stack([manifest.newest(row) for row in rows])


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Sets torch's threads for the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def table_bytes(manifest: Manifest) -> int:
    return 4 * (manifest.num_items + 1) * manifest.dim


def working_bytes(manifest: Manifest, mode: str, point: Point) -> int:
    """About what a request takes besides the item table: scores, states in and out, and the events' activations."""
    scores = 3 * 4 * point.batch * (manifest.num_items + 1)
    window = manifest.window
    reads = mode == ENCODE or (mode != SCORE and window and point.history >= window)
    events = min(point.history, window or point.history) if reads else 1
    return scores + 2 * point.batch * manifest.state.bytes + 4 * ACTIVATIONS * point.batch * events * manifest.dim


def _turns(calls: list[Callable[[], object]]) -> Callable[[], object]:
    """One call that goes through `calls` in turn."""
    place = -1

    def call() -> object:
        nonlocal place
        place = (place + 1) % len(calls)
        return calls[place]()

    return call
