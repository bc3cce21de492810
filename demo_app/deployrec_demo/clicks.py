"""Tiles that are clicked: every press is numbered in the browser, so that none is lost and each is of its own item.

Streamlit's buttons carry one press per run of the script, and a press meant for a row that has just been drawn anew
finds another item there. Here the browser keeps a log of (number, item) and sends the whole of it; the server takes
what it has not yet taken, in order, and says how far it has come.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from deployrec_demo.engine import Engine

STATIC = Path(__file__).with_name("static")
TAKEN = "taken"


class Tile(NamedTuple):
    """An item as it is drawn: `note` stands above its title (a rank and an arrow), `mood` colours it."""

    row: int
    note: str = ""
    mood: str = ""


def component(name: str) -> Any:
    """The Streamlit component of static/NAME.js and static/NAME.css."""
    style, code = ((STATIC / f"{name}.{kind}").read_text() for kind in ("css", "js"))
    return st.components.v2.component(f"deployrec_{name}", css=style, js=code, isolate_styles=False)


def show(engine: Engine, key: str, tiles: Sequence[Tile], layout: str) -> None:
    """Draws tiles as a "grid" with covers, or as "rows"; `pending` finds what is clicked."""
    data = {
        "layout": layout,
        "taken": list(st.session_state.get(TAKEN, ("", 0))),
        "tiles": [
            {
                "item": engine.catalogue.item_ids[tile.row],
                "title": engine.shelf.titles[tile.row],
                "details": engine.shelf.details[tile.row],
                "kind": min(engine.shelf.kinds[tile.row], default=""),
                "note": tile.note,
                "mood": tile.mood,
            }
            for tile in tiles
        ],
    }
    component("tiles")(key=key, data=data, on_log_change=lambda: None)


def pending(keys: Iterable[str]) -> list[str]:
    """Item ids clicked in the tiles of these keys since the last call, in the order of the clicks."""
    page, taken = st.session_state.get(TAKEN, ("", 0))
    clicks: dict[int, str] = {}
    for log in filter(None, map(_log, keys)):
        if log["page"] != page:  # the browser has loaded the page anew and counts from one again
            page, taken, clicks = log["page"], 0, {}
        clicks |= {int(number): str(item) for number, item in log["clicks"]}
    new = [clicks[number] for number in sorted(clicks) if number > taken]
    st.session_state[TAKEN] = (page, max([taken, *clicks]))
    return new


def _log(key: str) -> dict[str, Any] | None:
    """What the browser last sent: {"page": a name of this load of the page, "clicks": [[number, item id], ...]}."""
    state = st.session_state.get(key)
    return state.get("log") if state else None
