"""Two bundles, the same clicks: both lists, both costs."""

from __future__ import annotations

from html import escape

import streamlit as st

from deployrec_demo import look, resources, session
from deployrec_demo.engine import Engine
from deployrec_demo.session import Visit
from deployrec_demo.ways import cost


def show(engine: Engine, visit: Visit) -> None:
    other = resources.beside()
    if other is None:
        st.caption("Start the demo with a second bundle of the same items: `deployrec demo BUNDLE --beside OTHER`.")
        return
    items = [engine.catalogue.item_ids[row] for row in visit.rows]
    twin = session.of_items(other, items)
    lists = [
        [one.shelf.titles[place.row] for place in session.top(one, user, not st.session_state.get("seen_again", False))]
        for one, user in ((engine, visit), (other, twin))
    ]
    names = [engine.manifest.model["key"], other.manifest.model["key"]]
    if names[0] == names[1]:
        names = [f"{name} {one.manifest.bundle_id[:8]}" for name, one in zip(names, (engine, other), strict=True)]
    both = set(lists[0]) & set(lists[1])
    rows = [
        [_cell(rank, title, title in both) for title in pair] for rank, pair in enumerate(zip(*lists, strict=False), 1)
    ]
    look.table(list(map(escape, names)), rows)
    costs = [cost(one, user) for one, user in ((engine, visit), (other, twin))]
    timed = "; ".join(
        f"{name}: {look.duration((found.step or found.again).p50)} an event, "
        f"{look.size(one.manifest.state.bytes)} a user"
        for name, found, one in zip(names, costs, (engine, other), strict=True)
        if found
    )
    skipped = f" {twin.unknown} events are of items that the second does not know." if twin.unknown else ""
    st.caption(f"{len(both)} of {len(lists[0])} in both (bold). {timed}.{skipped}")


def _cell(rank: int, title: str, shared: bool) -> str:
    return f"{rank}. " + (f"<b>{escape(title)}</b>" if shared else escape(title))
