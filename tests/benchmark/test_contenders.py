"""What a timed call really runs: a step, or the whole history, or the newest window of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import Tensor

from deployrec.benchmark import ENCODE, STEP, Point
from deployrec.benchmark.contenders import GraphContender, TorchContender
from deployrec.benchmark.replay import Replay, Sessions
from deployrec.bundle.bundle import Bundle
from deployrec.data import Dataset
from deployrec.export.again import torch_model
from deployrec.runtime.backends.base import Moved, State, TopK, load_backend

WINDOW = 200


class Spy:
    """A backend that logs the calls it passes on."""

    def __init__(self, bundle: Bundle) -> None:
        self.backend = load_backend("onnxruntime", bundle)
        self.calls: list[SimpleNamespace] = []

    def step(
        self, rows: np.ndarray, exclude: np.ndarray | None, k: int, state: State, elapsed: np.ndarray | None = None
    ) -> tuple[Moved, TopK]:
        self.calls.append(SimpleNamespace(kind="step", items=rows, state=state))
        return self.backend.step(rows, exclude, k, state, elapsed)

    def encode(self, rows: np.ndarray, lengths: np.ndarray, state: State) -> Moved:
        self.calls.append(SimpleNamespace(kind="encode", items=rows, state=state))
        return self.backend.encode(rows, lengths, state)

    def score(self, user: np.ndarray, exclude: np.ndarray | None, k: int, elapsed: np.ndarray | None = None) -> TopK:
        self.calls.append(SimpleNamespace(kind="score", exclude=exclude))
        return self.backend.score(user, exclude, k, elapsed)

    def moment(self, user: np.ndarray, elapsed: np.ndarray | None) -> np.ndarray:
        return self.backend.moment(user, elapsed)

    def advance(self, rows: np.ndarray, state: State) -> Moved:
        self.calls.append(SimpleNamespace(kind="advance", items=rows, state=state))
        return self.backend.advance(rows, state)

    def last(self) -> SimpleNamespace:
        """The last call; the last two where they are an encode and the list after it."""
        *_, before, last = self.calls
        if last.kind != "score":
            assert last.kind == "step"
            return last
        assert before.kind == "encode"
        return SimpleNamespace(**{**vars(before), "exclude": last.exclude})


def last_call(bundle: Bundle, sample: Dataset, mode: str, history: int) -> tuple[SimpleNamespace, Sessions]:
    spy, point = Spy(bundle), Point(2, history, sample.num_items, 1)
    session = Replay(sample, 0).sessions(point)
    times = GraphContender("m", mode, "spy", bundle.manifest, spy, 10).prepare(point, [session])(3)
    assert len(times) == 3
    return spy.last(), session


@pytest.mark.parametrize("history", [1, 199, 600])
def test_a_recurrent_step_reads_one_event_from_the_state_after_the_history(
    bundle_of: Callable[[str], Path], sample: Dataset, history: int
) -> None:
    bundle = Bundle.open(bundle_of("recblr"))
    call, session = last_call(bundle, sample, STEP, history)
    assert call.kind == "step"
    assert np.array_equal(call.items, session.item)
    start = {name: np.zeros_like(tensor) for name, tensor in call.state.items()}
    lengths = np.full(2, history)
    found = load_backend("onnxruntime", bundle).encode(session.history, lengths, start)
    for name, tensor in call.state.items():
        np.testing.assert_allclose(tensor, found.state[name], atol=1e-4)


@pytest.mark.parametrize(("history", "kind"), [(1, "step"), (WINDOW - 1, "step"), (WINDOW, "encode"), (600, "encode")])
def test_beyond_its_window_a_step_reads_the_newest_events_again(
    bundle_of: Callable[[str], Path], sample: Dataset, history: int, kind: str
) -> None:
    call, session = last_call(Bundle.open(bundle_of("sasrec")), sample, STEP, history)
    assert call.kind == kind
    if kind == "encode":
        everything = np.column_stack([session.history, session.item])
        assert np.array_equal(call.items, everything[:, -WINDOW:])
        assert all((tensor == 0).all() for tensor in call.state.values())


@pytest.mark.parametrize(("key", "history", "read"), [("recblr", 600, 600), ("sasrec", 600, WINDOW), ("sasrec", 9, 9)])
def test_a_re_encode_reads_the_history_from_zeros(
    bundle_of: Callable[[str], Path], sample: Dataset, key: str, history: int, read: int
) -> None:
    call, session = last_call(Bundle.open(bundle_of(key)), sample, ENCODE, history)
    assert call.kind == "encode"
    assert np.array_equal(call.items, session.history[:, -read:])
    assert all((tensor == 0).all() for tensor in call.state.values())


@pytest.mark.parametrize("key", ["recblr", "sasrec"])
@pytest.mark.parametrize("mode", [STEP, ENCODE])
@pytest.mark.parametrize("history", [3, 250])
def test_torch_answers_as_the_graphs_do(
    bundle_of: Callable[[str], Path],
    sample: Dataset,
    key: str,
    mode: str,
    history: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = Bundle.open(bundle_of(key))
    point = Point(2, history, sample.num_items, 1)
    session = Replay(sample, 0).sessions(point)
    spy = Spy(bundle)
    GraphContender("m", mode, "spy", bundle.manifest, spy, 10).prepare(point, [session])(1)
    last = spy.last()
    if last.kind == "step":
        moved, best = spy.backend.step(last.items, session.exclude, 10, last.state)
    else:
        moved = spy.backend.encode(last.items, np.full(2, last.items.shape[1]), last.state)
        best = spy.backend.score(moved.user, session.exclude, 10)
    contender = TorchContender("m", mode, "torch", torch_model(bundle), bundle.manifest, 10)
    found: list[tuple[Tensor, ...]] = []
    monkeypatch.setattr(contender, "_finish", found.append)
    contender.prepare(point, [session])(1)
    np.testing.assert_allclose(found[0][2], moved.user, atol=1e-5)
    np.testing.assert_allclose(found[0][1], best.scores, atol=1e-4)
