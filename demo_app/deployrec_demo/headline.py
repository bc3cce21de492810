"""The first screen: one sentence, the live picture beside the accuracy, and when and how it was measured."""

from __future__ import annotations

import time
from html import escape

import streamlit as st

from deployrec_demo import clicks, look, resources
from deployrec_demo.curve import Curve
from deployrec_demo.engine import Engine
from deployrec_demo.timing import UNRELIABLE, WILD

START = 500
"""Events of the history at which the slider stands at first."""
BASELINES = ("5-lag Markov", "popularity")


def show(engine: Engine) -> None:
    state = engine.manifest.state
    kept = f"{look.size(state.bytes)} per user" if state.tensors else "the newest events per user"
    st.html(
        '<h1 class="pitch">Recommend the next item from a state of constant size.</h1>'
        f'<p class="pitch">For shops, players and feeds that rank items after every click: this model keeps {kept}, so '
        "one more event costs <b>one small step</b>, however long the history. Most sequential models read the history "
        "again at every click.</p>"
    )
    left, right = st.columns([8, 3], gap="large")
    with left:
        late = resources.curve(engine)
        # While a measurement is still to come the picture looks again each second.
        pending = late.curve is None or bool(late.waiting)
        st.fragment(resources.guarded(_picture), run_every=1.0 if pending else None)(engine)
    with right:
        quality(engine)


def _picture(engine: Engine) -> None:
    late = resources.curve(engine)
    curve = late.curve
    if curve is None:
        st.caption("Measuring on this machine ...")
        return
    clicks.component("picture")(key="picture", data=_data(curve))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="measured"):
        st.caption(_origin(curve), width="stretch")
        if st.button("Measure again", key="measure_again", type="tertiary"):
            late.again()
            st.rerun(scope="fragment")
    if late.waiting:
        st.session_state["awaited"] = True
        st.caption(f"{late.waiting.capitalize() if late.waiting[0].islower() else late.waiting} ...")
    elif st.session_state.pop("awaited", False):
        st.rerun()
    if late.reason:
        st.caption(late.reason)


def _data(curve: Curve) -> dict[str, object]:
    lines = [
        {
            "name": line.name,
            "short": line.short,
            "window": line.window,
            "points": [[length, spread.p50, spread.p95] for length, spread in sorted(line.points.items())],
        }
        for line in curve.lines
    ]
    return {
        "most": max(curve.lines[0].points),
        "start": START,
        "steps": curve.steps,
        "lines": lines,
        "wild": WILD,
        "unreliable": UNRELIABLE,
    }


def _origin(curve: Curve) -> str:
    calls = min(spread.calls for line in curve.lines for spread in line.points.values())
    clock = time.strftime("%H:%M:%S", time.localtime(curve.at))
    trust = "" if curve.reliable else f" **{UNRELIABLE}**: p95 is up to {curve.spread:.1f} times the median."
    rivals = " Other models: random weights, their default sizes." if len(curve.lines) > 2 else ""
    return f"Measured here at {clock}: medians of {calls} or more calls in turns, one user, one thread.{rivals}{trust}"


def quality(engine: Engine) -> None:
    """HR@10 of the bundle's own test beside baselines that need no training."""
    test = engine.manifest.training.get("metrics", {}).get("test", {})
    rows = test.get("rows", {})
    served = rows.get("streamed") or rows.get("windowed")
    st.markdown("**Does it still recommend well?**")
    if not served:
        st.caption("This bundle carries no test figures: its weights are not from a training.")
        return
    found = {engine.manifest.model["key"]: served, **{name: rows[name] for name in BASELINES if name in rows}}
    shares = {name: row["masked"]["hr@10"] for name, row in found.items()}
    cells = "".join(
        f'<div class="{"first" if place == 0 else ""}"><span>{escape(name)}</span><i style="width:{100 * share:.1f}%">'
        f"</i><b>{share:.2f}</b></div>"
        for place, (name, share) in enumerate(shares.items())
    )
    st.html(f'<div class="shares">{cells}</div>')
    data = engine.manifest.data
    st.caption(
        f"HR@10, recorded in the bundle: how often the hidden next item is among the first 10 of all "
        f"{engine.manifest.num_items:,}; {test['users']:,} users, data: {data['name']}."
    )
