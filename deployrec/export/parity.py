"""The torch half of the parity certificate: float64 answers to real histories, and how torch's own paths compare."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from deployrec.bundle.parity import LONG, Answer, Comparison, ParityCases
from deployrec.data import Dataset
from deployrec.export.graphs import recommend
from deployrec.models import SequentialRecommender, State
from deployrec.models.time import Moment
from deployrec.progress import Progress, silent
from deployrec.state import UNKNOWN_TIME

LONGEST = 100_000
MARKS = (10_000, 100_000)
"""Numbers of events after which a state is compared that has read nothing but one kind of history."""
ENCODE_CHUNK = 512
"""Events that one run of encode.onnx reads; all that a model without a state reads of a history."""
REAL_HISTORIES = 8
CENTURY, YEAR = 3.2e9, 365
"""Seconds, beyond any log's; days."""


class History(NamedTuple):
    """Item rows, oldest first, and what they are."""

    rows: np.ndarray
    name: str


def choose_histories(dataset: Dataset, edges: Iterable[int], longest: int, seed: int = 0) -> list[History]:
    """What a certificate is held on.

    Histories of exactly the lengths `edges` and LONG, real ones or glued from users where none is so long; whole
    users', evenly from the shortest to the longest; and at each mark up to `longest` one item over and over, two in
    turn, items at random, and real histories glued. The last four drive a state as far as it will go.
    """
    draw = np.random.default_rng(seed)
    order = draw.permutation(dataset.num_users)
    lengths = np.diff(dataset.offsets)
    stream = np.concatenate([dataset.history(int(user)) for user in order])
    histories = []
    for edge in sorted({*edges, LONG}):
        owner = next((int(user) for user in order if lengths[user] >= edge), None)
        source, name = (stream, "glued users") if owner is None else (dataset.history(owner), "a user's first")
        histories.append(History(np.resize(source, edge), name))
    by_length = np.argsort(lengths, kind="stable")
    picks = by_length[np.linspace(0, dataset.num_users - 1, REAL_HISTORIES).astype(int)]
    histories += [History(dataset.history(int(user))[-LONG:], "a user's") for user in picks]
    marks = [mark for mark in MARKS if mark <= longest]
    endless = {
        "one item repeated": stream[:1],
        "two items in turn": np.array([stream[0], stream[stream != stream[0]][0]]) if dataset.num_items > 1 else stream,
        "items at random": draw.integers(1, dataset.num_items + 1, max(marks, default=0)),
        "users glued": stream,
    }
    return histories + [History(np.resize(rows, mark), name) for mark in marks for name, rows in endless.items()]


def moments(moment: Moment, cases: int, seed: int = 0) -> np.ndarray:
    """What a time-aware model is told, float32 [C] or [C, 2]: the seconds from histories to the request are in turn
    none, unknown, a century, and any at random; the days any from a year before the training's to a year after it."""
    draw = np.random.default_rng(seed)
    asked = np.exp(draw.uniform(0, np.log(CENTURY), cases))
    for place, seconds in enumerate((0.0, UNKNOWN_TIME, CENTURY)):
        asked[place::4] = seconds
    first, last = (0.0, 0.0) if moment.calendar is None else moment.calendar.span
    days = np.where(asked == UNKNOWN_TIME, UNKNOWN_TIME, draw.uniform(first - YEAR, last + YEAR, cases))
    told: np.ndarray = moment.told(np.stack([asked, days], axis=1)).astype(np.float32)
    return told


def reference_cases(
    model: SequentialRecommender,
    chosen: Sequence[History],
    files: Mapping[str, str],
    top_k: int,
    max_exclude: int,
) -> ParityCases:
    """The answers of a float64 copy of the model; each history's newest `max_exclude` items are excluded.

    files: names and digests of those that the certificate will be held on.
    A model whose state is exact up to W events reads the newest W of a history, as it does when it serves.
    """
    histories = [history.rows for history in chosen]
    exclude = np.zeros((len(histories), max(1, min(max_exclude, max(map(len, histories))))), dtype=np.int64)
    for row, history in zip(exclude, histories, strict=True):
        newest = history[-max_exclude:]
        row[: len(newest)] = newest
    reference = copy.deepcopy(model).double()
    read = [served(model, history) for history in histories]
    user, state = _chunks(reference, read, reference.initial_state(len(histories)))
    elapsed = None if model.moment is None else moments(model.moment, len(histories))
    items, scores = recommend(reference, user, torch.from_numpy(exclude), top_k, _double(elapsed))
    return ParityCases(
        rows=np.concatenate(histories).astype(np.int64),
        offsets=np.cumsum([0, *map(len, histories)]),
        names=np.array([history.name for history in chosen]),
        user=user.numpy(),
        state={name: tensor.numpy() for name, tensor in state.items()},
        topk_items=items.numpy(),
        topk_scores=scores.numpy(),
        exclude=exclude,
        files=files,
        item_l1_max=float(reference.embedding.weight.abs().sum(1).max()),
        elapsed=elapsed,
    )


def compare_torch(
    model: SequentialRecommender, cases: ParityCases, top_k: int, progress: Progress = silent
) -> list[Comparison]:
    """Torch in float32 against the reference: encode at once, step by step, and encode resumed or followed by steps; on
    endless histories encode in chunks."""
    progress(0, 0, f"comparing torch on {len(cases.short)} histories")
    histories = [served(model, cases.history(case)) for case in cases.short]
    start = model.initial_state(len(histories))
    paths = {"torch encode": _encode(model, histories, start)}
    if model.state_spec.tensors:
        _, middle = _encode(model, [h[: len(h) // 2] for h in histories], start)
        second = [h[len(h) // 2 :] for h in histories]
        paths["torch encode, encode"] = _encode(model, second, middle)
        paths["torch step"] = _steps(model, histories, start)
        paths["torch encode, step"] = _steps(model, second, middle)
    rows = [row for name, found in paths.items() for row in _compared(model, cases, top_k, cases.short, name, *found)]
    if not cases.long:
        return rows
    progress(0, 0, f"comparing torch on up to {max(cases.lengths):,} events")
    endless = [served(model, cases.history(case)) for case in cases.long]
    found = _chunks(model, endless, model.initial_state(len(endless)))
    return rows + _compared(model, cases, top_k, cases.long, "torch encode in chunks", *found)


def split_held(cases: ParityCases, comparisons: Sequence[Comparison]) -> tuple[list[int], dict[str, int]]:
    """The cases that a certificate keeps, and up to how many events each kind of endless history holds (0: none).

    Short histories always stay. An endless one stays where everything on it, and on the shorter ones of its kind, is
    within the gates: some recurrences answer to a rounding, however small, with ever more.
    """
    failed = {row.case for row in comparisons if not row.passed}
    kept, held, broken = list(cases.short), dict[str, int](), set[str]()
    for case in sorted(cases.long, key=lambda case: cases.lengths[case]):
        name = str(cases.names[case])
        held.setdefault(name, 0)
        if cases.label(case) in failed or name in broken:
            broken.add(name)
        else:
            kept.append(case)
            held[name] = cases.lengths[case]
    return kept, held


def _compared(
    model: SequentialRecommender,
    cases: ParityCases,
    top_k: int,
    places: Sequence[int],
    name: str,
    user: Tensor,
    state: State,
) -> list[Comparison]:
    """Torch's user vectors and states of the cases at `places`, with the lists made of them, against the reference."""
    elapsed = cases.asked(places)
    asked = None if elapsed is None else torch.from_numpy(elapsed)
    items, scores = recommend(model, user, torch.from_numpy(cases.exclude[places]), top_k, asked)
    rows: list[Comparison] = []
    for place, case in enumerate(places):
        state_of_case = {key: tensor[place].numpy() for key, tensor in state.items()}
        answer = Answer(user[place].numpy(), state_of_case, items[place].numpy(), scores[place].numpy())
        rows += cases.compare(name, case, answer)
    return rows


def _double(seconds: np.ndarray | None) -> Tensor | None:
    return None if seconds is None else torch.from_numpy(seconds).double()


def served(model: SequentialRecommender, history: np.ndarray) -> np.ndarray:
    """What the model reads of a history: all of it, or the newest events that its state, or one encode, holds."""
    spec = model.state_spec
    window = spec.exact_up_to or (0 if spec.tensors else ENCODE_CHUNK)
    return history[-window:] if window else history


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


def _chunks(model: SequentialRecommender, histories: Sequence[np.ndarray], state: State) -> tuple[Tensor, State]:
    """The same as `_encode`, in chunks of ENCODE_CHUNK events where the model carries a state; together where histories
    are of one length."""
    if not model.state_spec.tensors or model.state_spec.exact_up_to:
        return _encode(model, histories, state)
    users = model.embedding.weight.new_zeros(len(histories), model.config.dim)
    state = {name: tensor.clone() for name, tensor in state.items()}
    lengths = np.array([len(history) for history in histories])
    for length in np.unique(lengths[lengths > 0]):
        places = np.flatnonzero(lengths == length).tolist()
        rows = torch.from_numpy(np.stack([histories[place] for place in places]))
        present = {name: tensor[places] for name, tensor in state.items()}
        for chunk in rows.split(ENCODE_CHUNK, dim=1):
            user, present = model.encode_last(chunk, torch.full((len(rows),), chunk.shape[1]), present)
        users[places] = user
        for name, tensor in present.items():
            state[name][places] = tensor
    return users, state


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
