"""The visitor's own user across runs, reloads and bundles: what was clicked or asked for is done here, in its order."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, unquote

import streamlit as st

from deployrec_demo import clicks, session
from deployrec_demo.engine import Engine
from deployrec_demo.session import Visit

LINK, LONGEST_LINK = "h", 300
"""The address's part that holds the history, and the newest events that it holds: browsers cut long addresses."""
TILES = ("tiles-list", "tiles-found")
ASKED = "asked"
NO_SUCH_ITEM = "an item from tomorrow"
Ask = Callable[[Engine, Visit], Visit]


def ask(what: Ask) -> None:
    """For a button's callback, which runs outside the page: done at the next `current`."""
    st.session_state.setdefault(ASKED, []).append(what)


def current(engine: Engine) -> Visit:
    """The visit after everything that was clicked and asked for; a new bundle reads the same history."""
    same = st.session_state.get("bundle_id") == engine.manifest.bundle_id
    if same:
        visit: Visit = st.session_state["visit"]
    else:
        visit = session.of_items(engine, st.session_state.get("history", _linked()))
    before = visit
    for item in clicks.pending(TILES):
        visit = session.click(engine, visit, item)
    for what in st.session_state.pop(ASKED, []):
        visit = what(engine, visit)
    left_out = bool(visit.rows) and LINK not in st.query_params  # another page has been looked at
    if visit is not before or not same or left_out:
        _keep(engine, visit)
    return visit


def _keep(engine: Engine, visit: Visit) -> None:
    history = [engine.catalogue.item_ids[row] for row in visit.rows]
    st.session_state["bundle_id"] = engine.manifest.bundle_id
    st.session_state["visit"] = visit
    st.session_state["history"] = history
    if history:
        st.query_params[LINK] = ",".join(quote(item, safe="") for item in history[-LONGEST_LINK:])
    else:
        st.query_params.pop(LINK, None)


def _linked() -> list[str]:
    return [unquote(item) for item in st.query_params.get(LINK, "").split(",") if item]
