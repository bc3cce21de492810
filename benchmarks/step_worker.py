"""One state of the code in step_ratios.py: exports its own bundle, then times its graphs and public calls.

It runs with that state's `deployrec`, over which step_ratios.py has laid today's calls.py, so that both states are
asked the same by the same code.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from benchmarks.workers import serve
from deployrec.benchmark.bundles import random_bundle
from deployrec.benchmark.calls import PublicCalls
from deployrec.bundle.bundle import Bundle
from deployrec.runtime.backends.base import load_backend
from deployrec.runtime.recommender import Recommender

Session = dict[str, np.ndarray]


def main() -> None:
    folder, sessions, model, num_items, k = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:6]
    bundle = random_bundle(model, int(num_items), folder)
    nodes = {
        name: len(onnx.load(folder / graph.file, load_external_data=False).graph.node)
        for name, graph in bundle.manifest.graphs.items()
    }
    about = {
        "code": str(Path(sys.modules[Bundle.__module__].__file__ or "").parents[2]),
        "sizes": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
        "nodes": nodes,
    }
    serve(about, State(bundle, read_sessions(sessions), int(k)))


def read_sessions(path: Path) -> dict[int, list[Session]]:
    """Sets of sessions by their batch size, as step_ratios.py wrote them: names are BATCH/NUMBER/FIELD."""
    found: dict[int, dict[int, Session]] = {}
    with np.load(path) as saved:
        for name, rows in saved.items():
            batch, number, field = name.split("/")
            found.setdefault(int(batch), {}).setdefault(int(number), {})[field] = rows
    return {batch: list(sets.values()) for batch, sets in found.items()}


class State:
    """Answers `prepare` with a cell's number, `cell` with the seconds of calls, `split` with graphs' part of them."""

    def __init__(self, bundle: Bundle, sessions: dict[int, list[Session]], k: int) -> None:
        self.bundle, self.sessions = bundle, sessions
        self.backend: Any = load_backend("onnxruntime", bundle, threads=1)
        self.calls = PublicCalls(Recommender(bundle, self.backend), k)
        # The state before had 100 items in every list, and no graph without one.
        self.k = (k,) if "advance" in bundle.manifest.graphs else ()
        self.cells: list[Callable[[int], np.ndarray]] = []

    def __call__(
        self, prepare: dict[str, Any] | None = None, cell: int = 0, calls: int = 0, split: bool = False
    ) -> Any:
        if prepare is not None:
            self.cells.append(self._timer(**prepare))
            return len(self.cells) - 1
        if split:
            with in_graphs() as spent:
                whole = self.cells[cell](calls)
            graphs = np.array(spent).reshape(calls, -1).sum(1)
            return {"seconds": whole.tolist(), "graphs": graphs.tolist()}
        return self.cells[cell](calls).tolist()

    def _timer(self, what: str, name: str, batch: int) -> Callable[[int], np.ndarray]:
        sessions = self.sessions[batch]
        if what == "call":
            return self.calls.timer(name, [s["history"] for s in sessions], [s["following"] for s in sessions])
        return in_turn([self._graph(name, session) for session in sessions])

    def _graph(self, name: str, session: Session) -> Callable[[], object]:
        history, item, exclude = session["history"], session["item"], session["exclude"]
        lengths = np.full(len(history), history.shape[1])
        zeros = self.bundle.manifest.state.zeros(len(history))
        if name == "encode":
            return lambda: self._encode(history, lengths, exclude, zeros)
        nothing = () if self.k else (None,)
        moved = self.backend.encode(history, lengths, *nothing, zeros)
        state = {tensor: values.copy() for tensor, values in moved.state.items()}
        if name == "step":
            return lambda: self.backend.step(item, exclude, *self.k, state)
        if self.k:
            return lambda: self.backend.advance(item, state)
        return lambda: self.backend.step(item, None, state)

    def _encode(self, history: np.ndarray, lengths: np.ndarray, exclude: np.ndarray, zeros: Any) -> object:
        """The history read again, and the list after it."""
        if self.k:
            return self.backend.score(self.backend.encode(history, lengths, zeros).user, exclude, *self.k)
        return self.backend.encode(history, lengths, exclude, zeros)


def in_turn(calls: list[Callable[[], object]]) -> Callable[[int], np.ndarray]:
    """Seconds of so many calls, which take turns."""
    place = 0

    def run(number: int) -> np.ndarray:
        nonlocal place
        times = np.empty(number)
        for turn in range(number):
            place += 1
            call = calls[place % len(calls)]
            begin = time.perf_counter()
            call()
            times[turn] = time.perf_counter() - begin
        return times

    return run


@contextmanager
def in_graphs() -> Iterator[list[float]]:
    """Collects the seconds of every run of a graph in the block."""
    spent: list[float] = []
    session = onnxruntime.InferenceSession
    runs = {name: getattr(session, name) for name in ("run", "run_with_iobinding")}

    def timed(run: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: Any, **named: Any) -> object:
            begin = time.perf_counter()
            answer = run(*arguments, **named)
            spent.append(time.perf_counter() - begin)
            return answer

        return call

    for name, run in runs.items():
        setattr(session, name, timed(run))
    try:
        yield spent
    finally:
        for name, run in runs.items():
            setattr(session, name, run)


if __name__ == "__main__":
    main()
