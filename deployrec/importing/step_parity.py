"""The certificate of an imported step: float64 answers to histories, and how the graph as it came compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from deployrec.bundle.parity import Answer, Comparison, ParityCases
from deployrec.export.parity import History
from deployrec.importing.float64 import Float64Graph
from deployrec.importing.step_parts import Parts
from deployrec.importing.step_session import StepSession
from deployrec.state import StateSpec

Tensors = dict[str, np.ndarray]
Move = Callable[[np.ndarray, Tensors], tuple[np.ndarray, Tensors]]
"""(item rows [B], state) -> (an output [B, ...], the next state)."""


def reference_answers(
    reference: Float64Graph,
    parts: Parts,
    spec: StateSpec,
    chosen: Sequence[History],
    files: Mapping[str, str],
    top_k: int,
    max_exclude: int,
) -> ParityCases:
    """What the advance graph answers in `reference.precision`, one event after the other; each history's newest
    `max_exclude` items are excluded from its list."""
    histories = [history.rows for history in chosen]
    longest = max(map(len, histories))
    exclude = np.zeros((len(histories), max(1, min(max_exclude, longest))), np.int64)
    for row, history in zip(exclude, histories, strict=True):
        newest = history[-max_exclude:]
        row[: len(newest)] = newest
    names = [tensor.name for tensor in spec.tensors]

    def move(rows: np.ndarray, state: Tensors) -> tuple[np.ndarray, Tensors]:
        user, *present = reference.run({"item_id": rows, **{f"past.{name}": state[name] for name in names}})
        return user, dict(zip(names, present, strict=True))

    start = {name: tensor.astype(reference.precision) for name, tensor in spec.zeros(len(histories)).items()}
    user, state = walk(move, histories, start, np.zeros((len(histories), parts.table.shape[1]), reference.precision))
    items, scores = best_of(_scores(user, parts), exclude, top_k)
    return ParityCases(
        rows=np.concatenate(histories).astype(np.int64),
        offsets=np.cumsum([0, *map(len, histories)]),
        names=np.array([history.name for history in chosen]),
        user=user,
        state=state,
        topk_items=items,
        topk_scores=scores,
        exclude=exclude,
        files=files,
        item_l1_max=float(np.abs(parts.table.astype(np.float64)).sum(1).max()),
    )


def compare_source(session: StepSession, parts: Parts, spec: StateSpec, cases: ParityCases) -> list[Comparison]:
    """The graph as it came, in float32 and with its own scores, against the reference: states and lists."""
    step, places = session.step, cases.short
    layout = {state.past.name: state for state in step.states}

    def move(rows: np.ndarray, state: Tensors) -> tuple[np.ndarray, Tensors]:
        own = {name: np.moveaxis(state[port.name], 0, port.batch_axis) for name, port in layout.items()}
        kinds = {name: tensor.dtype for name, tensor in session.start(1).items()}
        scores, after = session.move(
            np.maximum(rows - parts.first_row, 0), {name: tensor.astype(kinds[name]) for name, tensor in own.items()}
        )
        moved = {port.name: np.moveaxis(after[name], port.batch_axis, 0) for name, port in layout.items()}
        return scores, {name: tensor.astype(np.float32) for name, tensor in moved.items()}

    start = spec.zeros(len(places))
    empty = np.zeros((len(places), session.num_scores), np.float32)
    scores, state = walk(move, [cases.history(case) for case in places], start, empty)
    padded = np.pad(scores[:, 1 - parts.first_row :], ((0, 0), (1, 0)), constant_values=-np.inf)
    items, best = best_of(padded, cases.exclude[places], cases.topk_items.shape[1])
    rows: list[Comparison] = []
    for place, case in enumerate(places):
        own_state = {name: tensor[place] for name, tensor in state.items()}
        answer = Answer(cases.user[case], own_state, items[place], best[place])
        rows += [row for row in cases.compare(f"{step.path.name} as it came", case, answer) if row.quantity != "user"]
    return rows


def walk(move: Move, histories: Sequence[np.ndarray], state: Tensors, output: np.ndarray) -> tuple[np.ndarray, Tensors]:
    """Every history event by event, together: (the last output of each, or that of `output`, and its state)."""
    state, output = {name: tensor.copy() for name, tensor in state.items()}, output.copy()
    order = np.argsort([-len(history) for history in histories], kind="stable")
    lengths = np.array([len(histories[place]) for place in order])
    moving = {name: tensor[order] for name, tensor in state.items()}
    position = 0
    while going := int((lengths > position).sum()):
        stop = int(lengths[going - 1])
        rows = np.stack([histories[place][position:stop] for place in order[:going]], axis=1)
        moving = {name: tensor[:going] for name, tensor in moving.items()}
        for now in rows:
            last, moving = move(now, moving)
        places, position = order[:going], stop
        output[places] = last
        for name, tensor in moving.items():
            state[name][places] = tensor
    return output, state


def best_of(scores: np.ndarray, exclude: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of scores [C, N + 1] and their scores, without exclude [C, E]; item 0 where none is left."""
    left = scores.copy()
    np.put_along_axis(left, exclude, -np.inf, axis=1)
    items = np.argsort(-left, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(left, items, axis=1)
    return np.where(np.isneginf(values), 0, items), values


def _scores(user: np.ndarray, parts: Parts) -> np.ndarray:
    scores = user @ parts.table.T.astype(user.dtype)
    scores[:, 0] = -np.inf
    return scores
