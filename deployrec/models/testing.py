"""What every recommender must hold, as checks that an author runs on a model of his own.

from deployrec.models.testing import check_model

def test_my_model() -> None:
    check_model(MyModel, {"dim": 8})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deployrec.models.base import SequentialRecommender
from deployrec.models.registry import ModelClass, build_model
from deployrec.models.unroll import State

TOLERANCE = 1e-10
"""Between two ways to the same float64 number."""
EARLIER = 6
"""Most events that a starting state has read."""

History = Sequence[int]


def check_model(
    model: str | ModelClass,
    options: Mapping[str, Any] | None = None,
    *,
    num_items: int = 23,
    longest: int = 11,
    rounds: int = 10,
    seed: int = 0,
) -> None:
    """Checks the contract on random weights in float64 and random ragged batches.

    model, options: as `build_model` takes them; longest: events of a history. Raises AssertionError with the property
    that does not hold, and ConfigError for a class that does not have what the contract asks.
    """
    built = random_model(model, options, num_items, seed)
    generator = torch.Generator().manual_seed(seed)
    if built.state_spec.tensors and built.state_spec.exact_up_to is not None:
        longest = min(longest, built.state_spec.exact_up_to - EARLIER)
        assert longest > 0, f"expected a window above {EARLIER} events to check; got {built.state_spec.exact_up_to}"

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    check_initial_state(built)
    check_scores(built)
    check_moments(built)
    check_gradients(build_model(model, num_items, options))
    for number in range(rounds):
        histories = [[draw(1, num_items) for _ in range(draw(0, longest))] for _ in range(draw(1, 4))]
        histories.append([draw(1, num_items) for _ in range(draw(2, longest) if longest > 1 else 1)])
        check_last(built, histories, number, padding=draw(1, num_items), width=draw(0, 3))
        check_alone(built, histories)
        check_causality(built, histories[-1])
        if built.state_spec.tensors:
            check_split(built, histories, draw(0, longest), number)
            check_steps(built, histories, number)
            check_no_state(built, histories)


def check_split(model: SequentialRecommender, histories: Sequence[History], cut: int, seed: int = 0) -> None:
    """encode(a + b) equals encode(b) from the state after a, for every row's split after `cut` events."""
    start = random_state(model, len(histories), seed)
    hidden, final = model.encode(*padded(histories), start)
    _, middle = model.encode(*padded([history[:cut] for history in histories]), start)
    tail, resumed = model.encode(*padded([history[cut:] for history in histories]), middle)
    what = f"encode resumed after {cut} events"
    _same_states(resumed, final, what)
    for row, history in enumerate(histories):
        _same(tail[row, : max(0, len(history) - cut)], hidden[row, cut : len(history)], what)


def check_steps(model: SequentialRecommender, histories: Sequence[History], seed: int = 0) -> None:
    """step, step, ... equals encode at every position, alone and in a batch."""
    start = random_state(model, len(histories), seed)
    hidden, final = model.encode(*padded(histories), start)
    for row, history in enumerate(histories):
        state = _row(start, row)
        for position, item in enumerate(history):
            user, state = model.step(torch.tensor([item]), state)
            _same(user[0], hidden[row, position], "step")
        _same_states(_row(final, row), state, "step")
    if start and all(histories):
        user, after = model.step(torch.tensor([history[0] for history in histories]), start)
        for row, history in enumerate(histories):
            alone, state = model.step(torch.tensor([history[0]]), _row(start, row))
            _same(user[row], alone[0], "step of a batch")
            _same_states(_row(after, row), state, "step of a batch")


def check_last(
    model: SequentialRecommender, histories: Sequence[History], seed: int = 0, padding: int = 1, width: int = 3
) -> None:
    """encode_last reads encode's last position, whatever item pads the rows and however far; no event keeps a state."""
    start = random_state(model, len(histories), seed)
    items, lengths = padded(histories)
    hidden, final = model.encode(items, lengths, start)
    other = F.pad(padded(histories, padding)[0], (0, width), value=padding)
    user, state = model.encode_last(other, lengths, start)
    _same_states(state, final, "encode_last, or padding,")
    for row, length in enumerate(lengths.tolist()):
        if length:
            _same(user[row], hidden[row, length - 1], "encode_last, or padding,")
        else:
            _same_states(_row(state, row), _row(start, row), "a row without events")


def check_no_state(model: SequentialRecommender, histories: Sequence[History]) -> None:
    """No state is a state of zeros."""
    items, lengths = padded(histories)
    hidden, final = model.encode(items, lengths)
    again, resumed = model.encode(items, lengths, model.initial_state(len(items)))
    _same_states(resumed, final, "encode from initial_state()")
    for row, length in enumerate(lengths.tolist()):
        _same(again[row, :length], hidden[row, :length], "encode from initial_state()")


def check_alone(model: SequentialRecommender, histories: Sequence[History]) -> None:
    """A row gives the same alone as in a batch."""
    items, lengths = padded(histories)
    hidden, final = model.encode(items, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, state = model.encode(items[row : row + 1], lengths[row : row + 1])
        _same(alone[0, :length], hidden[row, :length], "a row alone")
        _same_states(state, {name: tensor[row : row + 1] for name, tensor in final.items()}, "a row alone")


def check_causality(model: SequentialRecommender, history: History) -> None:
    """No position sees an event behind it, and the last sees its own."""
    items, lengths = padded([history])
    changed = items.clone()
    changed[:, -1] = changed[:, -1] % model.num_items + 1
    before, after = model.encode(items, lengths)[0], model.encode(changed, lengths)[0]
    _same(after[:, :-1], before[:, :-1], "a position before a changed event")
    assert model.num_items == 1 or not torch.equal(after[:, -1], before[:, -1]), "the newest event changes nothing"


def check_scores(model: SequentialRecommender) -> None:
    """Users are as wide as items; every item has a finite score, the padding -inf and a zero vector."""
    hidden, _ = model.encode(torch.ones(2, 3, dtype=torch.int64), torch.tensor([3, 1]))
    wanted = (2, 3, model.config.dim)
    assert tuple(hidden.shape) == wanted, f"expected hidden [B, T, dim] {wanted}; got {tuple(hidden.shape)}"
    scores = model.score(torch.randn(3, model.config.dim, dtype=torch.float64))
    assert tuple(scores.shape) == (3, model.num_items + 1), f"expected scores [B, N + 1]; got {tuple(scores.shape)}"
    assert (scores[:, 0] == -torch.inf).all(), "expected a score of -inf for padding, column 0"
    assert scores[:, 1:].isfinite().all(), "expected a finite score for every item"
    assert not model.embedding.weight[0].any(), "expected a zero vector for padding, row 0 of the embedding"


def check_moments(model: SequentialRecommender) -> None:
    """Of a time-aware model: seconds change scores, a row's own alone; unknown ones are all the same; so are ages."""
    if model.moment is None:
        return
    user = torch.randn(1, model.config.dim, dtype=torch.float64).expand(5, -1)
    seconds = torch.tensor([-1.0, -1e9, 0.0, 3e9, 3e18])
    asked = torch.stack([seconds, seconds.clamp(-1, 0)], dim=1)
    unknown, still, at_once, age, longer = model.score(user, model.moment.told(asked))[:, 1:]
    _same(model.score(user)[0, 1:], unknown, "a score without seconds")
    _same(still, unknown, "a score after a negative number of seconds")
    _same(longer, age, "a score after more than a lifetime")
    for one, other in ((unknown, at_once), (at_once, age)):
        assert not torch.allclose(one, other), "expected scores that change with the seconds since the last event"


def check_initial_state(model: SequentialRecommender) -> None:
    """Zeros of the spec's shapes; and every state that encode and step return has the same names and shapes."""
    start = model.initial_state(3)
    states = [start, model.encode(torch.ones(3, 2, dtype=torch.int64), torch.tensor([2, 0, 1]))[1]]
    if start:
        states.append(model.step(torch.tensor([1, 2, 1]), start)[1])
    wanted = {tensor.name: (3, *tensor.shape) for tensor in model.state_spec.tensors}
    for state in states:
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        assert shapes == wanted, f"expected a state {wanted}; got {shapes}"
    assert not any(tensor.any() for tensor in start.values()), "expected an initial state of zeros"


def check_gradients(model: SequentialRecommender) -> None:
    """Every weight learns from a next-item loss, and the padding's vector does not."""
    torch.manual_seed(0)
    hidden, _ = model.encode(*padded([[1, 2, 3, 1, 2, 3, 1], [3, 1, 2], [2, 3]]))
    target = torch.randint(1, model.num_items + 1, hidden.shape[:2])
    F.cross_entropy(model.score(hidden).flatten(0, 1), target.flatten()).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not still, f"expected a finite gradient for every weight; got none for {', '.join(still)}"
    gradient = model.embedding.weight.grad
    assert gradient is not None and not gradient[0].any(), "expected no gradient for padding, row 0 of the embedding"  # noqa: PT018


def random_model(
    model: str | ModelClass, options: Mapping[str, Any] | None = None, num_items: int = 23, seed: int = 0
) -> SequentialRecommender:
    """The model in float64 and eval mode, with every weight random, biases and norms included."""
    torch.manual_seed(seed)
    built = build_model(model, num_items, options).double().eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        built.embedding.weight[0] = 0
    return built


def random_state(model: SequentialRecommender, batch: int, seed: int) -> State | None:
    """A state that some history leads to, so that its entries are consistent with each other; None without a state."""
    if not model.state_spec.tensors:
        return None
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, model.num_items + 1, (batch, EARLIER), generator=generator)
    lengths = torch.randint(0, EARLIER + 1, (batch,), generator=generator)
    with torch.no_grad():
        return model.encode(items, lengths)[1]


def padded(histories: Sequence[History], padding: int = 0) -> tuple[Tensor, Tensor]:
    """Right-padded items [B, T], T at least 1, and lengths [B]."""
    lengths = torch.tensor([len(history) for history in histories])
    items = torch.full((len(histories), max(1, int(lengths.max()))), padding)
    for row, history in zip(items, histories, strict=True):
        row[: len(history)] = torch.tensor(history, dtype=torch.int64)
    return items, lengths


def _row(state: State | None, row: int) -> State:
    return {name: tensor[row : row + 1] for name, tensor in (state or {}).items()}


def _same(got: Tensor, wanted: Tensor, what: str) -> None:
    assert got.shape == wanted.shape, f"{what}: expected shape {list(wanted.shape)}; got {list(got.shape)}"
    error = float((got - wanted).detach().abs().max()) if got.numel() else 0.0
    assert error <= TOLERANCE, f"{what} differs from encode by {error:.1e}, above {TOLERANCE}"


def _same_states(got: State, wanted: State, what: str) -> None:
    assert got.keys() == wanted.keys(), f"{what}: expected a state of {', '.join(wanted)}; got {', '.join(got)}"
    for name in wanted:
        _same(got[name], wanted[name], f"{what}: the state {name}")
