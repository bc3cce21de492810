"""What can be evaluated: anything that scores all items for a list of histories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from deployrec.models import SequentialRecommender, State
from deployrec.training.windows import pad


class Scorer(Protocol):
    """A row of an evaluation: a model read in some way, an exported bundle, a baseline.

    name    what the table calls it
    chunk   the events it reads of a history at once, by which the caller sizes batches
    """

    name: str
    chunk: int

    def scores(self, histories: Sequence[np.ndarray], elapsed: np.ndarray | None = None) -> Tensor:
        """Scores [B, N + 1] after each history (item rows, oldest first, at least one); column 0 is -inf.

        elapsed [B, 2], float32: seconds from each history's last event to the question, and the question's day since
        1970; None where nobody knows.
        """
        ...


class Walker(Scorer, Protocol):
    """A scorer whose users are read once, event by event, however often they are asked about."""

    def walk(self, histories: Sequence[np.ndarray], counts: np.ndarray) -> Tensor:
        """User vectors [sum(counts), D] after each of the last counts[b] events of history b, user after user."""
        ...

    def score(self, users: Tensor, elapsed: np.ndarray | None = None) -> Tensor:
        """Scores [B, N + 1] of user vectors [B, D], `elapsed` [B, 2] as for `scores`; column 0 is -inf."""
        ...


class WindowedScorer:
    """A model that reads the last `window` events from a zero state."""

    name = "windowed"

    def __init__(self, model: SequentialRecommender, window: int) -> None:
        limit = model.state_spec.exact_up_to
        self._model, self.chunk = model, window if limit is None else min(window, limit)

    def scores(self, histories: Sequence[np.ndarray], elapsed: np.ndarray | None = None) -> Tensor:
        return _scores(self._model, [history[-self.chunk :] for history in histories], self.chunk, elapsed)


class StreamedScorer:
    """A model as it is served: its state is carried over the whole history, read in chunks of `chunk` events."""

    name = "streamed"

    def __init__(self, model: SequentialRecommender, chunk: int) -> None:
        self._model, self.chunk = model, chunk

    def scores(self, histories: Sequence[np.ndarray], elapsed: np.ndarray | None = None) -> Tensor:
        return _scores(self._model, histories, self.chunk, elapsed)

    def walk(self, histories: Sequence[np.ndarray], counts: np.ndarray) -> Tensor:
        with torch.inference_mode():
            return walk_histories(self._model, histories, counts, self.chunk)

    def score(self, users: Tensor, elapsed: np.ndarray | None = None) -> Tensor:
        with torch.inference_mode():
            return _scored(self._model, users, elapsed)


class TimelessScorer:
    """A scorer of a time-aware model that is never told when it is asked."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer, self.name, self.chunk = scorer, f"{scorer.name}, time unknown", scorer.chunk

    def scores(self, histories: Sequence[np.ndarray], elapsed: np.ndarray | None = None) -> Tensor:
        return self._scorer.scores(histories)


def carries_state(model: SequentialRecommender) -> bool:
    """Whether the model has a constant-size state that holds for histories of any length."""
    return bool(model.state_spec.tensors) and model.state_spec.exact_up_to is None


def encode_histories(model: SequentialRecommender, histories: Sequence[np.ndarray], chunk: int) -> tuple[Tensor, State]:
    """User vectors [B, D] and states after each history, none empty, encoded `chunk` events at a time."""
    sizes = np.array([len(history) for history in histories])
    events, stops = np.concatenate(histories), np.cumsum(sizes)
    starts = stops - sizes
    device = model.embedding.weight.device
    order = np.argsort(starts - stops, kind="stable")
    starts, stops = starts[order], stops[order]
    state = model.initial_state(len(order))
    user = model.embedding.weight.new_zeros(len(order), model.embedding.embedding_dim)
    for at in range(0, int((stops - starts).max(initial=0)), chunk):
        active = int((stops - starts > at).sum())
        begin = starts[:active] + at
        end = np.minimum(stops[:active], begin + chunk)
        items, lengths = pad(events, begin, end).to(device), torch.from_numpy(end - begin).to(device)
        past = {name: tensor[:active] for name, tensor in state.items()}
        newest, present = model.encode_last(items, lengths, past or None)
        user = torch.cat([newest, user[active:]])
        state = {name: torch.cat([present[name], tensor[active:]]) for name, tensor in state.items()}
    back = torch.from_numpy(np.argsort(order)).to(device)
    return user[back], {name: tensor[back] for name, tensor in state.items()}


def walk_histories(
    model: SequentialRecommender, histories: Sequence[np.ndarray], counts: np.ndarray, chunk: int
) -> Tensor:
    """User vectors [sum(counts), D] after each of the last counts[b] events of history b, read `chunk` at a time."""
    sizes = np.array([len(history) for history in histories])
    order = np.argsort(-sizes, kind="stable")
    events, stops = np.concatenate([histories[row] for row in order]), np.cumsum(sizes[order])
    starts, first = stops - sizes[order], (sizes - counts)[order]
    device, place = model.embedding.weight.device, (np.cumsum(counts) - counts)[order]
    walked = model.embedding.weight.new_empty(int(counts.sum()), model.embedding.embedding_dim)
    state = model.initial_state(len(order))
    for at in range(0, int(sizes.max()), chunk):
        active = int((sizes[order] > at).sum())
        begin = starts[:active] + at
        end = np.minimum(stops[:active], begin + chunk)
        items, lengths = pad(events, begin, end).to(device), torch.from_numpy(end - begin).to(device)
        past = {name: tensor[:active] for name, tensor in state.items()}
        hidden, state = model.encode(items, lengths, past)
        position = at + np.arange(items.shape[1])
        row, column = np.nonzero((position >= first[:active, None]) & (position < (end - starts[:active])[:, None]))
        target = place[row] + at + column - first[row]
        walked[torch.from_numpy(target).to(device)] = hidden[
            torch.from_numpy(row).to(device), torch.from_numpy(column).to(device)
        ]
    return walked


def _scores(
    model: SequentialRecommender, histories: Sequence[np.ndarray], chunk: int, elapsed: np.ndarray | None
) -> Tensor:
    with torch.inference_mode():
        user, _ = encode_histories(model, histories, chunk)
        return _scored(model, user, elapsed)


def _scored(model: SequentialRecommender, user: Tensor, elapsed: np.ndarray | None) -> Tensor:
    if elapsed is None or model.moment is None:
        return model.score(user)
    return model.score(user, model.moment.told(torch.from_numpy(elapsed).to(user.device)))
