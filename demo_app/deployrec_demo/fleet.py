"""The fleet calculator: what so many users cost by a step, by re-reading and with a KV cache; all of it computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from deployrec.runtime.stores.base import Layout
from deployrec_demo import look, resources
from deployrec_demo.curve import Curve, Line

BUSY = 0.5
"""Share of a core's time that is planned for: beyond it requests queue."""
ID_BYTES = 4
CACHE_LAYERS, CACHE_DIM = 2, 64
"""A transformer of SASRec's usual size: two layers of 64, keys and values in float32."""
CACHE_BYTES = CACHE_LAYERS * 2 * CACHE_DIM * 4
"""Per event."""
MEMORY_RATE = 10e9
"""Bytes a second that one core reads of memory: what a KV cache costs at the least at every event."""


@dataclass(frozen=True)
class Need:
    """memory in bytes, cores at BUSY, money a month."""

    name: str
    memory: float
    cores: float

    def cost(self, core: float, gib: float) -> float:
        return self.cores * core + self.memory / 2**30 * gib


def needs(record: int, curve: Curve, users: int, rate: float, history: int) -> list[Need]:
    """By a state of `record` bytes, by re-reading, and by a KV cache; rate in events/s, history in events a user.

    The KV cache is given the step's own compute and the reading of its cache from memory: no more than a lower bound.
    """
    step, again = (seconds(line, history) for line in curve.lines[:2])
    cached = step + history * CACHE_BYTES / MEMORY_RATE
    return [
        Need("a step from the state", users * record, rate * step / BUSY),
        Need("reading the history again", users * history * ID_BYTES, rate * again / BUSY),
        Need("a KV cache, at the least", users * history * CACHE_BYTES, rate * cached / BUSY),
    ]


def seconds(line: Line, history: int) -> float:
    """Of one event after `history`: between measured lengths a straight line of logarithms."""
    lengths = sorted(line.points)
    times = [line.points[length].p50 for length in lengths]
    return float(np.exp(np.interp(np.log(history), np.log(lengths), np.log(times))))


def page() -> None:
    engine = resources.engine()
    st.html('<h1 class="pitch">What would a fleet cost?</h1><p class="pitch">Computed from latencies measured on this '
            "machine; nothing here was run at that size.</p>")  # fmt: skip
    curve = resources.curve(engine).curve
    if curve is None:
        st.caption("Measuring on this machine first ...")
        st.fragment(_wait, run_every=0.5)()
        return
    first, second, third = st.columns(3, gap="medium")
    with first:
        users = st.select_slider("Users", [10**n * m for n in range(4, 9) for m in (1, 3)], 10**6, key="users",
                                 format_func=_short)  # fmt: skip
    with second:
        rate = st.select_slider("Events per second", [10**n * m for n in range(1, 6) for m in (1, 3)], 1000,
                                key="rate", format_func=_short)  # fmt: skip
    with third:
        history = st.select_slider("Events in a user's history", sorted(curve.lines[0].points), 500, key="length",
                                   format_func=_short)  # fmt: skip
    with st.expander("Prices"):
        core = st.number_input("One core, a month", 0.0, value=25.0, key="core")
        gib = st.number_input("One GiB of memory, a month", 0.0, value=3.0, key="gib")
    found = needs(Layout.of(engine.manifest).record_bytes, curve, users, rate, history)
    own, again = found[0].cost(core, gib), found[1].cost(core, gib)
    look.figures(
        (look.size(found[0].memory), "computed: memory of all states"),
        (_cores(found[0].cores), "computed: cores for the steps"),
        (f"{again / own:.1f}x" if own else "-", "computed: what re-reading costs beside it"),
    )
    rows = [[need.name, look.size(need.memory), _cores(need.cores), f"{need.cost(core, gib):,.0f}"] for need in found]
    look.table(["way", "memory", "cores", "a month"], rows, numbers=(1, 2, 3))
    kind = "one step" if curve.steps else "its window"
    st.caption(
        f"Computed. Latencies measured here: {kind} {look.duration(seconds(curve.lines[0], history))}, re-reading "
        f"{history:,} events {look.duration(seconds(curve.lines[1], history))}; cores are planned to be busy half "
        f"their time. A state's record is {look.size(Layout.of(engine.manifest).record_bytes)}; a history is "
        f"{ID_BYTES} bytes an event. The KV cache is one of {CACHE_LAYERS} layers of {CACHE_DIM} floats: "
        f"{look.size(CACHE_BYTES)} an event, read at 10 GB/s a core, with the step's own compute: a lower bound. "
        "Prices are assumptions, in whatever money you enter them."
    )


def _wait() -> None:
    if resources.curve(resources.engine()).curve is not None:
        st.rerun()


def _cores(count: float) -> str:
    return f"{count:,.0f}" if count >= 10 else f"{count:.2g}"


def _short(count: int) -> str:
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size and count % (size // 10) == 0:
            return f"{count / size:g}{unit}"
    return f"{count:,}"
