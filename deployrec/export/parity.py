"""The torch half of the parity certificate: float64 answers to real histories, and how torch's own paths compare."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from deployrec.bundle.parity import Answer, Comparison, ParityCases
from deployrec.data import Dataset
from deployrec.export.graphs import recommend
from deployrec.models import SequentialRecommender, State
from deployrec.progress import Progress, silent

LONGEST = 2000
ENCODE_CHUNK = 512
"""Events that one run of encode.onnx reads; all that a model without a state reads of a history."""
REAL_HISTORIES = 8


def choose_histories(dataset: Dataset, edges: Iterable[int], seed: int = 0) -> list[np.ndarray]:
    """Histories of exactly the lengths `edges` and LONGEST (glued from users where none is so long), then whole users'.

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
    """The answers of a float64 copy of the model; each history's newest `max_exclude` items are excluded.

    A model whose state is exact up to W events reads the newest W of a history, as it does when it serves.
    """
    exclude = np.zeros((len(histories), max(1, min(max_exclude, max(map(len, histories))))), dtype=np.int64)
    for row, history in zip(exclude, histories, strict=True):
        newest = history[-max_exclude:]
        row[: len(newest)] = newest
    reference = copy.deepcopy(model).double()
    read = [served(model, history) for history in histories]
    user, state = _encode(reference, read, reference.initial_state(len(histories)))
    items, scores = recommend(reference, user, torch.from_numpy(exclude), top_k)
    return ParityCases(
        rows=np.concatenate(histories).astype(np.int64),
        offsets=np.cumsum([0, *map(len, histories)]),
        user=user.numpy(),
        state={name: tensor.numpy() for name, tensor in state.items()},
        topk_items=items.numpy(),
        topk_scores=scores.numpy(),
        exclude=exclude,
        item_l1_max=float(reference.embedding.weight.abs().sum(1).max()),
    )


def compare_torch(
    model: SequentialRecommender, cases: ParityCases, top_k: int, progress: Progress = silent
) -> list[Comparison]:
    """Torch in float32 against the reference: encode at once, step by step, and encode resumed or followed by steps."""
    histories = [served(model, cases.history(case)) for case in range(len(cases))]
    start = model.initial_state(len(histories))
    progress(0, 0, f"comparing torch on {len(histories)} histories")
    paths = {"torch encode": _encode(model, histories, start)}
    if model.state_spec.tensors:
        _, middle = _encode(model, [h[: len(h) // 2] for h in histories], start)
        second = [h[len(h) // 2 :] for h in histories]
        paths["torch encode, encode"] = _encode(model, second, middle)
        paths["torch step"] = _steps(model, histories, start)
        paths["torch encode, step"] = _steps(model, second, middle)
    rows: list[Comparison] = []
    for name, (user, state) in paths.items():
        items, scores = recommend(model, user, torch.from_numpy(cases.exclude), top_k)
        for case in range(len(cases)):
            state_of_case = {key: tensor[case].numpy() for key, tensor in state.items()}
            answer = Answer(user[case].numpy(), state_of_case, items[case].numpy(), scores[case].numpy())
            rows += cases.compare(name, case, answer)
    return rows


def served(model: SequentialRecommender, history: np.ndarray) -> np.ndarray:
    """What the model reads of a history: all of it, or the newest events that its state, or one encode, holds."""
    window = model.state_spec.exact_up_to if model.state_spec.tensors else ENCODE_CHUNK
    return history if window is None else history[-window:]


def _encode(model: SequentialRecommender, histories: Sequence[np.ndarray], state: State) -> tuple[Tensor, State]:
    """User vectors [C, D] and states after each history, row by row: padding to the longest would cost memory."""
    users, states = [], []
    for row, history in enumerate(histories):
        items = torch.from_numpy(np.array(history if len(history) else [0], dtype=np.int64)).unsqueeze(0)
        start = {name: tensor[row : row + 1] for name, tensor in state.items()}
        user, present = model.encode_last(items, torch.tensor([len(history)]), start)
        users.append(user)
        states.append(present)
    return torch.cat(users), {name: torch.cat([present[name] for present in states]) for name in state}


def _steps(model: SequentialRecommender, histories: Sequence[np.ndarray], state: State) -> tuple[Tensor, State]:
    """The same, one event of every unfinished history at a time; a history without events keeps a zero user vector."""
    lengths = np.array([len(history) for history in histories])
    state = {name: tensor.clone() for name, tensor in state.items()}
    users = model.embedding.weight.new_zeros(len(histories), model.config.dim)
    for position in range(lengths.max()):
        rows = torch.from_numpy(np.flatnonzero(lengths > position))
        events = torch.tensor([int(histories[row][position]) for row in rows])
        user, present = model.step(events, {name: tensor[rows] for name, tensor in state.items()})
        users[rows] = user
        for name, tensor in present.items():
            state[name][rows] = tensor
    return users, state
