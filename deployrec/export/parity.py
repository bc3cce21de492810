"""The torch half of the parity certificate: float64 answers to real histories, and how torch's own paths compare."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from deployrec.data import Dataset
from deployrec.export.graphs import recommend
from deployrec.models import SequentialRecommender, State
from deployrec.runtime.parity import Answer, Comparison, ParityCases

LONGEST = 2000
REAL_HISTORIES = 8


def choose_histories(dataset: Dataset, edges: Iterable[int], seed: int = 0) -> list[np.ndarray]:
    """Histories of exactly the lengths `edges` (glued from users where none is so long), then of whole users.

    Each is an array of item rows. The users stand evenly from the shortest to the longest history.
    """
    order = np.random.default_rng(seed).permutation(dataset.num_users)
    stream = np.concatenate([dataset.history(int(user)) for user in order])
    lengths = np.diff(dataset.offsets)
    histories = []
    for edge in sorted({*edges, LONGEST}):
        owner = next((int(user) for user in order if lengths[user] >= edge), None)
        source = stream if owner is None else dataset.history(owner)
        histories.append(np.resize(source, edge))
    by_length = np.argsort(lengths, kind="stable")
    picks = by_length[np.linspace(0, dataset.num_users - 1, REAL_HISTORIES).astype(int)]
    return histories + [dataset.history(int(user))[-LONGEST:] for user in picks]


def reference_cases(
    model: SequentialRecommender, histories: Sequence[np.ndarray], top_k: int, max_exclude: int
) -> ParityCases:
    """The answers of a float64 copy of the model; each history's newest `max_exclude` items are excluded."""
    exclude = np.zeros((len(histories), max(1, min(max_exclude, max(map(len, histories))))), dtype=np.int64)
    for row, history in zip(exclude, histories, strict=True):
        newest = history[-max_exclude:]
        row[: len(newest)] = newest
    reference = copy.deepcopy(model).double()
    answers = [
        _answer(reference, *reference.encode_last(*_row(history), reference.initial_state(1)), excluded, top_k)
        for history, excluded in zip(histories, exclude, strict=True)
    ]
    return ParityCases(
        rows=np.concatenate(histories).astype(np.int64),
        offsets=np.cumsum([0, *map(len, histories)]),
        user=np.stack([answer.user for answer in answers]),
        state={t.name: np.stack([a.state[t.name] for a in answers]) for t in model.state_spec.tensors},
        topk_items=np.stack([answer.topk_items for answer in answers]),
        topk_scores=np.stack([answer.topk_scores for answer in answers]),
        exclude=exclude,
        item_l1_max=float(reference.embedding.weight.abs().sum(1).max()),
    )


def compare_torch(model: SequentialRecommender, cases: ParityCases, top_k: int) -> list[Comparison]:
    """Torch in float32 against the reference: encode at once, step by step, and encode resumed or followed by steps."""
    rows: list[Comparison] = []
    for case in range(len(cases)):
        history, excluded = cases.history(case), cases.exclude[case]
        paths = {"torch encode": _encode(model, history, model.initial_state(1))}
        if model.state_spec.tensors:
            half = len(history) // 2
            started = _encode(model, history[:half], model.initial_state(1))[1]
            paths["torch encode, encode"] = _encode(model, history[half:], started)
            if model.state_spec.exact_up_to is None or len(history) <= model.state_spec.exact_up_to:
                paths["torch step"] = _steps(model, history, model.initial_state(1))
                paths["torch encode, step"] = _steps(model, history[half:], started)
        for name, (user, state) in paths.items():
            rows += cases.compare(name, case, _answer(model, user, state, excluded, top_k))
    return rows


def _encode(model: SequentialRecommender, history: np.ndarray, state: State) -> tuple[Tensor, State]:
    return model.encode_last(*_row(history), state)


def _steps(model: SequentialRecommender, history: np.ndarray, state: State) -> tuple[Tensor, State]:
    user = model.embedding.weight.new_zeros(1, model.config.dim)
    for item in history:
        user, state = model.step(torch.tensor([item]), state)
    return user, state


def _row(history: np.ndarray) -> tuple[Tensor, Tensor]:
    """A history as items [1, T] and lengths [1]; an empty one becomes one padded position."""
    items = torch.from_numpy(np.array(history if len(history) else [0], dtype=np.int64))
    return items.unsqueeze(0), torch.tensor([len(history)])


def _answer(model: SequentialRecommender, user: Tensor, state: State, excluded: np.ndarray, top_k: int) -> Answer:
    items, scores = recommend(model, user, torch.from_numpy(excluded).unsqueeze(0), top_k)
    return Answer(
        user=user[0].numpy(),
        state={name: tensor[0].numpy() for name, tensor in state.items()},
        topk_items=items[0].numpy(),
        topk_scores=scores[0].numpy(),
    )
