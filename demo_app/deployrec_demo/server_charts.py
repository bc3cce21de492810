"""Plotly figures of a running server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from deployrec_demo.look import ACCENT
from deployrec_demo.server_metrics import Between

WARM = "#ea580c"


def over_time(steps: Sequence[tuple[float, Between]]) -> go.Figure:
    """Requests/s above, p50 and p99 in milliseconds below; each step by its end, in seconds before now."""
    times = [at for at, _ in steps]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.16)
    rates = [step.rate for _, step in steps]
    figure.add_scatter(
        x=times,
        y=rates,
        name="requests/s",
        mode="lines",
        fill="tozeroy",
        showlegend=False,
        line={"color": ACCENT, "width": 2},
        hovertemplate="%{y:,.0f} a second",
        row=1,
        col=1,
    )
    for name, colour in (("p50", ACCENT), ("p99", WARM)):
        values = [getattr(step, name) for _, step in steps]
        figure.add_scatter(
            x=times,
            y=[None if value is None else 1e3 * value for value in values],
            name=name,
            mode="lines",
            line={"color": colour, "width": 2},
            hovertemplate="%{y:.3g} ms",
            row=2,
            col=1,
        )
    figure.update_yaxes(title="requests/s", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="ms", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(range=[min([-30.0, *times]), 0])
    figure.update_xaxes(title="seconds before now", row=2, col=1)
    figure.update_layout(height=320, margin={"l": 0, "r": 8, "t": 8, "b": 0}, hovermode="x unified",
                         legend={"orientation": "h", "y": 0.53, "x": 0})  # fmt: skip
    return figure


def sizes(found: Mapping[float, float]) -> go.Figure:
    """Batches by the bucket of their size, up to the largest that was seen."""
    bounds = sorted(found)
    last = max((place for place, bound in enumerate(bounds) if found[bound]), default=3)
    shown = bounds[: last + 1]
    figure = go.Figure(
        go.Bar(
            x=[_bucket(bounds, place) for place in range(len(shown))],
            y=[found[bound] for bound in shown],
            marker_color=ACCENT,
            hovertemplate="%{y:,.0f} batches of %{x}<extra></extra>",
        )
    )
    figure.update_xaxes(title="events or users of a batch", type="category")
    figure.update_yaxes(title="batches")
    figure.update_layout(height=320, margin={"l": 0, "r": 0, "t": 8, "b": 0}, bargap=0.25)
    return figure


def _bucket(bounds: Sequence[float], place: int) -> str:
    """1, 2, 3-4, 5-8, ... over 1,024."""
    bound, before = bounds[place], bounds[place - 1] if place else 0
    if bound == inf:
        return f"over {before:,.0f}"
    return f"{bound:,.0f}" if bound - before <= 1 else f"{before + 1:,.0f}-{bound:,.0f}"
