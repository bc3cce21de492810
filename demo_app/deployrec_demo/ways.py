"""The same click as a step, as the whole history again, and in torch: what each costs and whether they agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deployrec.bundle.parity import TIE_FACTOR, Answer, topk_figure
from deployrec_demo.engine import Engine, Output
from deployrec_demo.session import Visit, excluded
from deployrec_demo.timing import Spread, interleaved
from deployrec_demo.torch_twin import TorchTwin

BUDGET, LEAST = 0.03, 20
"""Seconds for the timing of all ways, and the calls that each gets however long they take."""
SHOWN = 10


@dataclass(frozen=True)
class Way:
    """One way of reading the click: its spread in seconds, then the comparison with the first way of the list.

    `difference` is the largest one in the user vector; `agrees` says whether the top-10 is the same up to ties. A way
    that cannot be taken has a `reason` instead.
    """

    name: str
    spread: Spread | None = None
    difference: float | None = None
    agrees: bool | None = None
    reason: str = ""


@dataclass(frozen=True)
class Cost:
    """What the newest click costs by a step (None: this model cannot) and by reading `events` events again."""

    step: Spread | None
    again: Spread
    events: int
    reason: str = ""


def cost(engine: Engine, visit: Visit) -> Cost | None:
    """Times the newest event of a visit both ways in turns; None for a user without events.

    The step carries on the state before that event where the visit knows it, and else the state after it: a step
    takes the same time from any state.
    """
    if not visit.rows:
        return None
    row, rows = visit.rows[-1], visit.rows
    state = visit.previous.state if visit.clicked and visit.previous else visit.state
    exclude = excluded(engine, rows, True)
    calls: dict[str, Callable[[], object]] = {"again": lambda: engine.encode(rows, exclude)}
    steps = engine.can_step(len(rows))
    if steps:
        calls["step"] = lambda: engine.step(row, exclude, state)
    with engine.lock:
        found = interleaved(calls, BUDGET, LEAST)
    return Cost(found.get("step"), found["again"], _read(engine, len(rows)), "" if steps else _no_step(engine))


def compare(engine: Engine, visit: Visit, torch: TorchTwin | str, exclude_seen: bool = True) -> list[Way]:
    """Takes the visit's last click again in every way; `torch` is the model, or why there is none.

    Step ways start from the state before the click; the others read the whole history from nothing.
    """
    before = visit.previous
    if before is None or not visit.clicked:
        return []
    exclude = excluded(engine, visit.rows, exclude_seen)
    row, rows, state, length = visit.rows[-1], visit.rows, before.state, _events(engine, len(visit.rows))
    calls: dict[str, Callable[[], Output]] = {}
    reasons: dict[str, str] = {}
    if engine.can_step(len(rows)):
        calls["step, ONNX Runtime"] = lambda: engine.step(row, exclude, state)
    else:
        reasons["step, ONNX Runtime"] = _no_step(engine)
    calls[f"{length} again, ONNX Runtime"] = lambda: engine.encode(rows, exclude)
    if isinstance(torch, str):
        reasons["torch"] = torch
    else:
        if "step, ONNX Runtime" in calls:
            calls["step, torch"] = lambda: torch.step(row, exclude, state)
        else:
            reasons["step, torch"] = _no_step(engine)
        calls[f"{length} again, torch"] = lambda: torch.encode(rows, exclude)
    answers = {name: call() for name, call in calls.items()}
    with engine.lock:
        spreads = interleaved(calls, BUDGET, LEAST)
    first = next(iter(answers.values()))
    ways = [
        Way(name, spreads[name], float(np.abs(found.user - first.user).max()), _same(engine, found, first, exclude))
        for name, found in answers.items()
    ]
    off = [Way(name, reason=reason) for name, reason in reasons.items()]
    return sorted([*ways, *off], key=lambda way: ("torch" in way.name, "step" not in way.name))


def _same(engine: Engine, found: Output, first: Output, exclude: np.ndarray) -> bool:
    """Whether the first ten places hold the same items, where only items of equal score may have changed places."""
    answers = [
        Answer(output.user[0], {}, output.topk_items[0, :SHOWN], output.topk_scores[0, :SHOWN])
        for output in (found, first)
    ]
    return topk_figure(answers[0], answers[1], exclude[0]) <= TIE_FACTOR * engine.cases.item_l1_max


def events(count: int) -> str:
    """A number of events in words."""
    return "1 event" if count == 1 else f"{count:,} events"


def _read(engine: Engine, count: int) -> int:
    return min(count, engine.window) if engine.window else count


def _events(engine: Engine, count: int) -> str:
    read = _read(engine, count)
    if read < count:
        return f"newest {events(read)}"
    return "the one event" if count == 1 else f"all {events(count)}"


def _no_step(engine: Engine) -> str:
    if "step" not in engine.manifest.graphs:
        return "this model keeps no state between events"
    return f"beyond {engine.window:,} events this model reads its window again"
