"""The first page: click items, and watch the recommendations, their cost and the user's state move."""

from __future__ import annotations

import time
from html import escape

import numpy as np
import streamlit as st

from deployrec_demo import look, resources, session
from deployrec_demo.charts import state_strips
from deployrec_demo.engine import Engine
from deployrec_demo.session import Place, Visit
from deployrec_demo.torch_twin import LOADING
from deployrec_demo.ways import compare

STRIP = 12
"""Newest items that the history strip shows."""
NO_SUCH_ITEM = "an item from tomorrow"


def page() -> None:
    began = st.session_state.pop("began", time.perf_counter())
    engine = resources.engine()
    visit = _visit(engine)
    _headline(engine)
    _history(engine, visit)
    left, right = st.columns([6, 5], gap="medium")
    with left:
        shown = _recommendations(engine, visit)
    with right:
        _search(engine, shown)
    took = st.session_state["answered"] = time.perf_counter() - began
    st.caption(f"Live: answered on the server in {look.duration(took)}.")
    if visit.previous is None:
        st.caption("Click an item: what the click costs by each way, and what it changes in the state, appears here.")
        resources.late_torch(engine.manifest.bundle_id, engine)  # begins to load while the visitor looks
    else:
        _ways(engine)
        _change(engine, visit)


def _visit(engine: Engine) -> Visit:
    """The visitor's user; a new one where the bundle has changed meanwhile."""
    if st.session_state.get("bundle_id") != engine.manifest.bundle_id:
        st.session_state["bundle_id"] = engine.manifest.bundle_id
        st.session_state["visit"] = session.start(engine)
    visit: Visit = st.session_state["visit"]
    return visit


def _headline(engine: Engine) -> None:
    measured = resources.headline(engine.manifest.bundle_id, engine)
    again = (look.duration(measured.encode), f"re-reading {resources.READ_AGAIN} events")
    state = engine.manifest.state
    if measured.step is None:
        look.figures(again, (f"{engine.manifest.num_items:,}", "items scored each time"))
    else:
        exact = "at any history length" if state.exact_up_to is None else f"up to {state.exact_up_to:,} events"
        look.figures(
            (look.duration(measured.step), f"one step: event in, top-10 out, {exact}"),
            again,
            (f"{measured.encode / measured.step:.0f}x", "faster than re-reading them"),
            (look.size(state.bytes), "kept per user, all there is"),
        )
    st.caption("Live: medians measured on this machine just now, one user, one thread, ONNX Runtime.")


def _history(engine: Engine, visit: Visit) -> None:
    newest = list(visit.rows[-STRIP:])
    parts = [f'<span class="more">{len(visit.rows) - len(newest):,} earlier</span>'] if len(visit.rows) > STRIP else []
    for place, row in enumerate(newest, 1):
        kind = "new" if visit.clicked and place == len(newest) else ""
        parts.append(f'<span class="{kind}">{escape(engine.shelf.titles[row])}</span>')
    if visit.unknown:
        parts.append(f'<span class="skipped">{visit.unknown} unknown, skipped</span>')
    parts = parts or ['<span class="more">No history yet: pick something below, or start as a real user.</span>']
    st.html(f'<div class="strip" role="list" aria-label="history">{"".join(parts)}</div>')
    with st.container(horizontal=True, gap="small"):
        st.button("Undo", on_click=_undo, disabled=visit.previous is None, key="undo")
        st.button("Reset", on_click=_start, args=((),), disabled=not visit.rows and not visit.unknown, key="reset")
        st.button("Start as a real user", on_click=_start_as_real, key="real")
        st.button("Unknown item", on_click=_click, args=(NO_SUCH_ITEM,), key="unknown", help="An event whose item the "
                  "catalogue does not know: it is counted and skipped, the state stays as it is.")  # fmt: skip


def _recommendations(engine: Engine, visit: Visit) -> list[Place]:
    st.markdown("**Next for this user**" if visit.rows else "**Most popular** :gray[nothing is known of this user yet]")
    places = session.top(engine, visit, not st.session_state.get("seen_again", False))
    with st.container(key="places"):
        for place in places:
            title = look.markdown(engine.shelf.titles[place.row])
            label = f":gray[{place.rank}] {_arrow(place, visit)} {title}{_details(engine, place.row)}"
            _item(label, engine, place.row, f"row-place-{place.rank}")
    st.toggle("Seen items may come again", key="seen_again")
    return places


def _search(engine: Engine, shown: list[Place]) -> None:
    shelf = engine.shelf
    query = st.text_input("Find an item and click it", placeholder="Title, genre or year", live=True, key="query")
    kinds, chosen = shelf.all_kinds, []
    if kinds:
        chosen = st.multiselect("Genres", kinds, placeholder="Any genre", key="kinds", label_visibility="collapsed")
    idle = not query.strip() and not chosen
    found = shelf.assortment({place.row for place in shown}) if idle else shelf.search(query, chosen)
    with st.container(key="results"):
        for place, row in enumerate(found):
            _item(f"{look.markdown(shelf.titles[row])}{_details(engine, row)}", engine, row, f"row-found-{place}")
    if not found:
        st.caption("Nothing has all of these words and genres.")
    elif idle:
        st.caption("Popular items of every genre." if kinds else "Popular items.")


def _item(label: str, engine: Engine, row: int, key: str) -> None:
    item = engine.catalogue.item_ids[row]
    st.button(label, key=key, type="tertiary", width="stretch", on_click=_click, args=(item,))


def _details(engine: Engine, row: int) -> str:
    details = engine.shelf.details[row]
    return f" :gray[:small[{look.markdown(details)}]]" if details else ""


def _arrow(place: Place, visit: Visit) -> str:
    if visit.previous is None or place.rose == 0:
        return ":gray[=]"
    if place.rose is None:
        return ":blue[new]"
    return f":green[▲{place.rose}]" if place.rose > 0 else f":red[▼{-place.rose}]"


def _ways(engine: Engine) -> None:
    """A fragment of its own: while torch is still loading it looks again each second."""
    late = resources.late_torch(engine.manifest.bundle_id, engine)
    st.markdown("#### The same click, every way")
    st.fragment(_ways_table, run_every=1.0 if late.found == LOADING else None)(engine)


def _ways_table(engine: Engine) -> None:
    late = resources.late_torch(engine.manifest.bundle_id, engine)
    visit: Visit = st.session_state["visit"]
    ways = compare(engine, visit, late.found, not st.session_state.get("seen_again", False))
    if not ways:
        st.caption("The last event was skipped: nothing was computed, and nothing changed.")
        return
    rows, off = [], []
    for place, way in enumerate(ways):
        name = escape(way.name)
        if way.seconds is None:
            off.append(place)
            rows.append([name, "", "", escape(way.reason)])
            continue
        agrees = '<span class="good">same</span>' if way.agrees else '<span class="bad">differs</span>'
        rows.append([name, look.duration(way.seconds), f"{way.difference:.0e}" if way.difference else "0", agrees])
    look.table(["way", "latency", "max. difference", "top-10"], rows, numbers=(1, 2), off=tuple(off))
    st.caption(
        f"Live: medians of up to {max(way.calls for way in ways)} calls just now, one thread. Difference: of the user "
        "vector, from the first way."
    )
    if late.found != LOADING and st.session_state.pop("torch_awaited", False):
        st.rerun()
    if late.found == LOADING:
        st.session_state["torch_awaited"] = True


def _change(engine: Engine, visit: Visit) -> None:
    moved = session.change(visit)
    if not moved:
        return
    st.markdown("#### What the click changed in the state")
    st.caption(
        f"{engine.manifest.state.floats:,} numbers, {look.size(engine.manifest.state.bytes)}, are all that is kept of "
        f"the {len(visit.rows):,} events. Green went up, orange down; each strip has its own scale."
    )
    st.plotly_chart(state_strips(moved), config={"displayModeBar": False}, key="strips")


def _click(item: str) -> None:
    st.session_state["began"] = time.perf_counter()
    st.session_state["visit"] = session.click(resources.engine(), st.session_state["visit"], item)


def _undo() -> None:
    st.session_state["visit"] = session.undo(st.session_state["visit"])


def _start(rows: tuple[int, ...]) -> None:
    st.session_state["visit"] = session.start(resources.engine(), rows)


def _start_as_real() -> None:
    histories = resources.engine().real_histories()
    chosen = histories[int(np.random.default_rng().integers(len(histories)))]
    _start(tuple(chosen.tolist()))
