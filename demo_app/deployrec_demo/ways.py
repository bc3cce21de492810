"""The same click as a step, as the whole history again, and in torch: what each costs and whether they agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deployrec.bundle.parity import TIE_FACTOR, Answer, topk_figure
from deployrec_demo.engine import Engine, Output
from deployrec_demo.session import Visit, excluded
from deployrec_demo.timing import median_seconds
from deployrec_demo.torch_twin import TorchTwin

BUDGET, SLOW = 0.012, 0.04
"""Seconds for the timing of one way, and beyond which its first call has to do: a click is to be answered at once."""
MOST_CALLS = 40
SHOWN = 10


@dataclass(frozen=True)
class Way:
    """One way of reading the click: median latency in seconds, then the comparison with the first way of the list.

    `difference` is the largest one in the user vector; `agrees` says whether the top-10 is the same up to ties. A way
    that cannot be taken has a `reason` instead.
    """

    name: str
    seconds: float | None = None
    calls: int = 0
    difference: float | None = None
    agrees: bool | None = None
    reason: str = ""


def compare(engine: Engine, visit: Visit, torch: TorchTwin | str, exclude_seen: bool = True) -> list[Way]:
    """Takes the visit's last click again in every way; `torch` is the model, or why there is none.

    Step ways start from the state before the click; the others read the whole history from nothing.
    """
    before = visit.previous
    if before is None or not visit.clicked:
        return []
    exclude = excluded(engine, visit.rows, exclude_seen)
    row, rows, state, length = visit.rows[-1], visit.rows, before.state, _events(engine, len(visit.rows))
    no_step = "" if engine.can_step(len(rows)) else _no_step(engine)
    no_torch = torch if isinstance(torch, str) else ""
    tried: list[tuple[str, str, Callable[[], Output] | None]] = [
        ("step, ONNX Runtime", no_step, lambda: engine.step(row, exclude, state)),
        (f"{length} again, ONNX Runtime", "", lambda: engine.encode(rows, exclude)),
    ]
    if isinstance(torch, TorchTwin):
        tried += [
            ("step, torch", no_step, lambda: torch.step(row, exclude, state)),
            (f"{length} again, torch", "", lambda: torch.encode(rows, exclude)),
        ]
    else:
        tried += [("torch", no_torch, None)]
    ways: list[Way] = []
    first: Output | None = None
    for name, reason, call in tried:
        if reason or call is None:
            ways.append(Way(name, reason=reason))
            continue
        found, seconds, calls = _time(call)
        first = first or found
        difference = float(np.abs(found.user - first.user).max())
        ways.append(Way(name, seconds, calls, difference, _same(engine, found, first, exclude)))
    return ways


def _time(call: Callable[[], Output]) -> tuple[Output, float, int]:
    """The answer, the median seconds of a call and how many were timed."""
    answers: list[Output] = []
    once = median_seconds(lambda: answers.append(call()), 1)
    if once > SLOW:
        return answers[0], once, 1
    calls = int(np.clip(BUDGET / once, 3, MOST_CALLS))
    return answers[0], median_seconds(call, calls), calls


def _same(engine: Engine, found: Output, first: Output, exclude: np.ndarray) -> bool:
    """Whether the first ten places hold the same items, where only items of equal score may have changed places."""
    answers = [
        Answer(output.user[0], {}, output.topk_items[0, :SHOWN], output.topk_scores[0, :SHOWN])
        for output in (found, first)
    ]
    return topk_figure(answers[0], answers[1], exclude[0]) <= TIE_FACTOR * engine.cases.item_l1_max


def _events(engine: Engine, count: int) -> str:
    read = min(count, engine.window) if engine.window else count
    return f"all {read:,} events" if read == count else f"newest {read:,} events"


def _no_step(engine: Engine) -> str:
    if "step" not in engine.manifest.graphs:
        return "this model keeps no state between events"
    return f"beyond {engine.window:,} events this model reads its window again"
