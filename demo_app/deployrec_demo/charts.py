"""Plotly figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from deployrec_demo.engine import State

if TYPE_CHECKING:
    from deployrec.benchmark import Cell

MOST_CELLS = (48, 256)
"""Lines and columns of a strip: larger tensors are drawn by the largest change of neighbouring cells."""
LINE, TITLE = 7, 26
"""Pixels of one line of a strip, and of the title above it."""
DIVERGING = [
    (0.0, "#c2410c"),
    (0.25, "rgba(234, 140, 70, .75)"),
    (0.5, "rgba(128, 140, 140, .10)"),
    (0.75, "rgba(20, 170, 155, .75)"),
    (1.0, "#0f766e"),
]
"""The middle is nearly clear, so that it is no change on a light page and on a dark one."""


def state_strips(change: State) -> go.Figure:
    """One heat strip per state tensor: how much the click moved each number, each strip on its own scale."""
    strips = {name: _strip(tensor) for name, tensor in change.items()}
    heights = [LINE * max(len(strip), 4) for strip in strips.values()]
    total = sum(heights) + TITLE * len(strips)
    figure = make_subplots(rows=len(strips), cols=1)
    top = total
    for place, (name, strip) in enumerate(strips.items(), 1):
        largest = float(np.abs(strip).max(initial=0))
        figure.add_trace(
            go.Heatmap(
                z=strip,
                zmin=-largest or -1,
                zmax=largest or 1,
                colorscale=DIVERGING,
                showscale=False,
                hovertemplate="line %{y}, column %{x}: %{z:.3g}<extra></extra>",
            ),
            row=place,
            col=1,
        )
        shape = " x ".join(map(str, change[name].shape))
        figure.add_annotation(text=f"{name} [{shape}], moved by up to {largest:.2g}", x=0, xref="paper", xanchor="left",
                              y=top / total, yref="paper", yanchor="top", showarrow=False, font_size=12)  # fmt: skip
        top -= TITLE + heights[place - 1]
        figure.update_yaxes(domain=[top / total, (top + heights[place - 1]) / total], row=place, col=1)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, autorange="reversed")
    figure.update_layout(height=total, margin={"l": 0, "r": 0, "t": 0, "b": 0})
    return figure


def _strip(tensor: np.ndarray) -> np.ndarray:
    """The tensor as lines of its last axis, lying on its longer side, thinned to MOST_CELLS.

    A cell that stands for several keeps the largest change of them, sign and all.
    """
    lines = tensor.reshape(prod(tensor.shape[:-1]), tensor.shape[-1])
    if len(lines) > lines.shape[1]:
        lines = lines.T
    for axis, most in enumerate(MOST_CELLS):
        factor = -(-lines.shape[axis] // most)
        if factor > 1:
            groups = np.array_split(lines, -(-lines.shape[axis] // factor), axis)
            lines = np.stack([_largest(group, axis) for group in groups], axis)
    return lines


def _largest(group: np.ndarray, axis: int) -> np.ndarray:
    at = np.abs(group).argmax(axis)
    return np.take_along_axis(group, np.expand_dims(at, axis), axis).squeeze(axis)


COLOURS = {"step": ("#0d9488", "#2563eb", "#7c3aed", "#0891b2"), "encode": ("#ea580c", "#d97706", "#db2777", "#b45309")}
DASHES = ("solid", "dash", "dot", "dashdot")


def latency_lines(lines: Mapping[tuple[str, str, str], Sequence[Cell]], percentile: str) -> go.Figure:
    """Milliseconds against events, by (label, mode, backend): steps in cool colours, re-encodes in warm ones.

    Lines of other backends than the first wait in the legend, one click away: two dozen at once tell nothing.
    """
    labels = list(dict.fromkeys(label for label, _, _ in lines))
    backends = list(dict.fromkeys(backend for _, _, backend in lines))
    figure = go.Figure()
    for (label, mode, backend), cells in lines.items():
        if not cells:
            continue
        colours = COLOURS[mode]
        figure.add_scatter(
            x=[cell.history for cell in cells],
            y=[1e3 * getattr(cell.latency, percentile) for cell in cells],
            name=f"{label} {'step' if mode == 'step' else 're-encode'}, {backend}",
            mode="lines+markers",
            visible=True if backend == backends[0] else "legendonly",
            line={
                "color": colours[labels.index(label) % len(colours)],
                "dash": DASHES[backends.index(backend) % len(DASHES)],
                "width": 3 if backend == backends[0] else 1.5,
            },
            marker={"size": 6},
            hovertemplate="%{x:,} events: %{y:.3g} ms<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(type="log", title="events in the history", dtick=1, tickformat=",d")
    figure.update_yaxes(type="log", title=f"{percentile}, ms", dtick=1, tickformat="~g")
    figure.update_layout(height=400, margin={"l": 0, "r": 8, "t": 8, "b": 0}, hovermode="closest",
                         legend={"orientation": "h", "y": -0.28, "yanchor": "top", "x": 0})  # fmt: skip
    return figure
