"""Below the list: what explains the newest click, one view at a time, so that a click pays for that alone."""

from __future__ import annotations

from html import escape

import streamlit as st

from deployrec_demo import game, look, resources, session, side_by_side
from deployrec_demo.charts import state_strips
from deployrec_demo.engine import Engine
from deployrec_demo.session import Visit
from deployrec_demo.timing import UNRELIABLE
from deployrec_demo.torch_twin import LOADING
from deployrec_demo.ways import compare, events

WHY, GAME, BESIDE, WAYS, STATE = "Why this item", "The game", "Side by side", "Every way", "The state"


def show(visit: Visit) -> None:
    engine = resources.engine()
    views = {WHY: _why, GAME: game.show, BESIDE: side_by_side.show, WAYS: _ways, STATE: _state}
    chosen = st.segmented_control("Look closer", list(views), default=WHY, required=True, key="view",
                                  label_visibility="collapsed")  # fmt: skip
    with st.container(key="view-body"):
        views[chosen](engine, visit)


def _why(engine: Engine, visit: Visit) -> None:
    if len(visit.rows) < 2:
        st.caption("With two events or more: without which of them would an item leave the list?")
        return
    again = st.session_state.get("seen_again", False)
    places = session.top(engine, visit, not again)
    titles = {place.row: f"{place.rank}. {engine.shelf.named(place.row)}" for place in places}
    items = list(titles)
    kept = st.session_state.get("why")
    # A choice of its own for each list: the browser would go on to show the text of an item that has left the list.
    row = st.selectbox("Item", items, items.index(kept) if kept in titles else 0, format_func=titles.__getitem__,
                       key=f"why-{'-'.join(map(str, items))}", label_visibility="collapsed")  # fmt: skip
    st.session_state["why"] = row
    rank = next(place.rank for place in places if place.row == row)
    found = session.why(engine, visit, row, not again)
    leaves = [engine.shelf.titles[event.row] for event in found if event.rank > len(places)]
    if leaves:
        names = " or without ".join(f"<b>{escape(title)}</b>" for title in leaves)
        st.html(f'<p class="answer">Without {names} it would leave the list.</p>')
    else:
        st.html(f'<p class="answer">No single one of the newest {len(found)} events holds it in the list.</p>')
    rows = [[escape(engine.shelf.titles[event.row]), _ago(event.back), _moved(rank, event.rank)] for event in found]
    look.table(["without", "", f"rank, now {rank}"], rows, numbers=(1, 2))
    st.caption("Exact: the history without that event is read again from the start, and all items are ranked.")


def _ago(back: int) -> str:
    return "newest" if back == 1 else f"{back} ago"


def _moved(now: int, then: int) -> str:
    if then == now:
        return "same"
    return f'<span class="{"bad" if then > now else "good"}">{then:,}</span>'


def _ways(engine: Engine, visit: Visit) -> None:
    """While torch is still loading it looks again each second."""
    if not visit.clicked:
        st.caption("Click an item: the same event by a step, by reading everything again, and in torch.")
        return
    late = resources.late_torch(engine.manifest.bundle_id, engine)
    st.fragment(resources.guarded(_ways_table), run_every=1.0 if late.found == LOADING else None)(engine, visit)


def _ways_table(engine: Engine, visit: Visit) -> None:
    late = resources.late_torch(engine.manifest.bundle_id, engine)
    ways = compare(engine, visit, late.found, not st.session_state.get("seen_again", False))
    rows, off = [], []
    for place, way in enumerate(ways):
        name = escape(way.name)
        if way.spread is None:
            off.append(place)
            rows.append([name, "", "", "", escape(way.reason)])
            continue
        agrees = '<span class="good">same</span>' if way.agrees else '<span class="bad">differs</span>'
        spread = [look.duration(way.spread.p50), look.duration(way.spread.p95)]
        rows.append([name, *spread, f"{way.difference:.0e}" if way.difference else "0", agrees])
    look.table(["way", "median", "p95", "max. difference", "top-10"], rows, numbers=(1, 2, 3), off=tuple(off))
    timed = [way.spread for way in ways if way.spread]
    trust = "" if all(spread.reliable for spread in timed) else f" **{UNRELIABLE}**: a p95 is over 3 times its median."
    st.caption(
        f"{min(spread.calls for spread in timed)} calls each, in turns, just now, one thread. Difference: of the user "
        f"vector, from the first way.{trust}"
    )
    if late.found != LOADING and st.session_state.pop("torch_awaited", False):
        st.rerun()
    if late.found == LOADING:
        st.session_state["torch_awaited"] = True


def _state(engine: Engine, visit: Visit) -> None:
    state = engine.manifest.state
    moved = session.change(visit)
    if not state.tensors:
        st.caption(f"None: every request reads the newest {engine.window:,} events again.")
        return
    if not moved:
        st.caption(f"{state.floats:,} numbers, {look.size(state.bytes)}. Click an item to see which of them move.")
        return
    st.caption(
        f"{state.floats:,} numbers, {look.size(state.bytes)}, are all that is kept of {events(len(visit.rows))}. Green "
        "went up, orange down; each strip has its own scale."
    )
    strips = {name: tensor for name, tensor in moved.items() if tensor.size > 1}
    for name, tensor in moved.items():
        if tensor.size == 1:
            now = float(visit.state[name].ravel()[0])
            st.caption(f"`{name}`: {now - float(tensor.ravel()[0]):g} → {now:g}")
    if strips:
        st.plotly_chart(state_strips(strips), config={"displayModeBar": False}, key="strips")
