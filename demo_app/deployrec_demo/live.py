"""The first page: what a constant-size state is worth, measured here, and a user of one's own to try it on."""

from __future__ import annotations

import time
from functools import partial
from html import escape

import numpy as np
import streamlit as st

from deployrec_demo import clicks, details, headline, look, people, resources, session, visitor
from deployrec_demo.clicks import Tile
from deployrec_demo.engine import Engine
from deployrec_demo.session import Place, Visit
from deployrec_demo.ways import cost

STRIP = 12
"""Newest items that the history strip shows."""


def page() -> None:
    headline.show(resources.engine())
    st.fragment(resources.guarded(_stage))()


def _stage() -> None:
    """Everything that a click changes: it runs alone then."""
    began = time.perf_counter()
    engine = resources.engine()
    visit = visitor.current(engine)
    again = st.session_state.get("seen_again", False)
    places = session.top(engine, visit, not again)
    _history(engine, visit)
    left, right = st.columns([7, 4], gap="large")
    with left:
        st.markdown("**Next for this user**" if visit.rows else "**Most popular** :gray[nothing is known of you yet]")
        clicks.show(engine, "tiles-list", [_tile(place, visit) for place in places], "grid")
        took = time.perf_counter() - began
        bars = st.empty()
        st.toggle("Seen items may come again", key="seen_again")
    with right:
        _search(engine, places)
    _cost(bars, engine, visit, took)
    st.session_state["answered"] = took
    st.fragment(resources.guarded(details.show))(visit)


def _history(engine: Engine, visit: Visit) -> None:
    newest = list(visit.rows[: -STRIP - 1 : -1])
    parts = [
        f'<span class="{"new" if place == 0 and visit.clicked else ""}">{escape(engine.shelf.titles[row])}</span>'
        for place, row in enumerate(newest)
    ]
    if visit.unknown:
        parts.insert(0, f'<span class="skipped">{visit.unknown} unknown, skipped</span>')
    if len(visit.rows) > STRIP:
        parts.append(f'<span class="more">and {len(visit.rows) - len(newest):,} earlier</span>')
    nobody = '<span class="more">No history yet: click a tile, or be somebody.</span>'
    count = f"<b>{len(visit.rows):,}</b>" if parts else nobody
    st.html(f'<div class="strip" role="list" aria-label="history, newest first">{count}{"".join(parts)}</div>')
    with st.container(horizontal=True, gap="small", key="moves"):
        for person in people.personas(engine):
            st.button(
                person.name, on_click=visitor.ask, args=(partial(_become, rows=person.rows),), key=f"be-{person.key}"
            )
        st.button("Real user", on_click=visitor.ask, args=(_real,), key="real", help="One of the users of the "
                  "training data, with the whole history.")  # fmt: skip
        st.button("Undo", on_click=visitor.ask, args=(_undo,), disabled=visit.previous is None, key="undo")
        st.button("Reset", on_click=_reset, key="reset")
        st.button("Unknown item", on_click=visitor.ask, args=(_unknown,), key="unknown", help="An event whose item the "
                  "catalogue does not know: it is counted and skipped, the state stays as it is.")  # fmt: skip


def _search(engine: Engine, shown: list[Place]) -> None:
    shelf = engine.shelf
    st.markdown("**Or click anything else**")
    query = st.text_input("Find an item and click it", placeholder="Title, genre or year", live=True, key="query",
                          label_visibility="collapsed")  # fmt: skip
    chosen = []
    if shelf.all_kinds:
        chosen = st.multiselect("Genres", shelf.all_kinds, placeholder="Any genre", key="kinds",
                                label_visibility="collapsed")  # fmt: skip
    idle = not query.strip() and not chosen
    found = shelf.assortment({place.row for place in shown}, 7) if idle else shelf.search(query, chosen, 7)
    clicks.show(engine, "tiles-found", [Tile(row) for row in found], "rows")
    if not found:
        st.caption("Nothing has all of these words in any of these genres.")


def _tile(place: Place, visit: Visit) -> Tile:
    if visit.previous is None or place.rose == 0:
        return Tile(place.row, str(place.rank))
    if place.rose is None:
        return Tile(place.row, f"{place.rank} new", "new")
    arrow, mood = ("▲", "up") if place.rose > 0 else ("▼", "down")
    return Tile(place.row, f"{place.rank} {arrow}{abs(place.rose)}", mood)


def _cost(where: st.delta_generator.DeltaGenerator, engine: Engine, visit: Visit, took: float) -> None:
    """Two bars under the list: the newest event as a step, and as the history read again."""
    found = cost(engine, visit)
    if found is None:
        where.caption("Click a tile: what the click costs, by a step and by reading the history again, appears here.")
        return
    with where.container():
        look.bars(found)
        model = (found.step or found.again).p50
        st.caption(
            f"Answered on the server in {look.duration(took)}: the model took {look.duration(model)}, the rest is "
            f"drawing. Bars: medians of {found.again.calls} calls each, in turns, just now."
        )


def _become(engine: Engine, visit: Visit, rows: tuple[int, ...]) -> Visit:
    return session.start(engine, rows)


def _real(engine: Engine, visit: Visit) -> Visit:
    histories = engine.real_histories()
    return session.start(engine, histories[int(np.random.default_rng().integers(len(histories)))].tolist())


def _undo(engine: Engine, visit: Visit) -> Visit:
    return session.undo(visit)


def _unknown(engine: Engine, visit: Visit) -> Visit:
    return session.click(engine, visit, visitor.NO_SUCH_ITEM)


def _reset() -> None:
    st.session_state["query"], st.session_state["kinds"] = "", []
    visitor.ask(partial(_become, rows=()))
