"""What a timed call really runs: a step, or the whole history, or the newest window of it."""

from types import SimpleNamespace

import numpy as np
import pytest

from deployrec.benchmark import ENCODE, STEP, Point
from deployrec.benchmark.bundles import torch_model
from deployrec.benchmark.contenders import GraphContender, TorchContender
from deployrec.benchmark.replay import Replay
from deployrec.bundle.bundle import Bundle
from deployrec.runtime.backends.base import load_backend

WINDOW = 200


class Spy:
    """A backend that logs the calls it passes on."""

    def __init__(self, bundle):
        self.backend, self.calls = load_backend("onnxruntime", bundle), []

    def step(self, items, exclude, state):
        self.calls.append(SimpleNamespace(kind="step", items=items, state=state))
        return self.backend.step(items, exclude, state)

    def encode(self, items, lengths, exclude, state):
        self.calls.append(SimpleNamespace(kind="encode", items=items, state=state))
        return self.backend.encode(items, lengths, exclude, state)


def last_call(bundle, sample, mode, history):
    spy, point = Spy(bundle), Point(2, history, sample.num_items, 1)
    session = Replay(sample, 0).sessions(point)
    times = GraphContender("m", mode, "spy", bundle.manifest, spy).prepare(point, [session])(3)
    assert len(times) == 3
    assert len({call.kind for call in spy.calls[-3:]}) == 1
    return spy.calls[-1], session


@pytest.mark.parametrize("history", [1, 199, 600])
def test_a_recurrent_step_reads_one_event_from_the_state_after_the_history(bundle_of, sample, history):
    bundle = Bundle.open(bundle_of("recblr"))
    call, session = last_call(bundle, sample, STEP, history)
    assert call.kind == "step"
    assert np.array_equal(call.items, session.item)
    start = {name: np.zeros_like(tensor) for name, tensor in call.state.items()}
    lengths = np.full(2, history)
    found = load_backend("onnxruntime", bundle).encode(session.history, lengths, session.exclude, start)
    for name, tensor in call.state.items():
        np.testing.assert_allclose(tensor, found.state[name], atol=1e-4)


@pytest.mark.parametrize(("history", "kind"), [(1, "step"), (WINDOW - 1, "step"), (WINDOW, "encode"), (600, "encode")])
def test_beyond_its_window_a_step_reads_the_newest_events_again(bundle_of, sample, history, kind):
    call, session = last_call(Bundle.open(bundle_of("sasrec")), sample, STEP, history)
    assert call.kind == kind
    if kind == "encode":
        everything = np.column_stack([session.history, session.item])
        assert np.array_equal(call.items, everything[:, -WINDOW:])
        assert all((tensor == 0).all() for tensor in call.state.values())


@pytest.mark.parametrize(("key", "history", "read"), [("recblr", 600, 600), ("sasrec", 600, WINDOW), ("sasrec", 9, 9)])
def test_a_re_encode_reads_the_history_from_zeros(bundle_of, sample, key, history, read):
    call, session = last_call(Bundle.open(bundle_of(key)), sample, ENCODE, history)
    assert call.kind == "encode"
    assert np.array_equal(call.items, session.history[:, -read:])
    assert all((tensor == 0).all() for tensor in call.state.values())


@pytest.mark.parametrize("key", ["recblr", "sasrec"])
@pytest.mark.parametrize("mode", [STEP, ENCODE])
@pytest.mark.parametrize("history", [3, 250])
def test_torch_answers_as_the_graphs_do(bundle_of, sample, key, mode, history):
    bundle = Bundle.open(bundle_of(key))
    point = Point(2, history, sample.num_items, 1)
    session = Replay(sample, 0).sessions(point)
    answers = []
    spy = Spy(bundle)
    GraphContender("m", mode, "spy", bundle.manifest, spy).prepare(point, [session])(1)
    last = spy.calls[-1]
    if last.kind == "step":
        answers.append(spy.backend.step(last.items, session.exclude, last.state))
    else:
        lengths = np.full(2, last.items.shape[1])
        answers.append(spy.backend.encode(last.items, lengths, session.exclude, last.state))
    contender = TorchContender("m", mode, "torch", torch_model(bundle), bundle.manifest)
    contender._finish = answers.append
    contender.prepare(point, [session])(1)
    np.testing.assert_allclose(answers[1][2], answers[0].user, atol=1e-5)
    np.testing.assert_allclose(answers[1][1], answers[0].topk_scores, atol=1e-4)
