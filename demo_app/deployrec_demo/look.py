"""How the demo looks: its colours as Streamlit flags, its few own styles, and figures as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

import streamlit as st
from streamlit.navigation.page import Page

from deployrec_demo.timing import UNRELIABLE
from deployrec_demo.ways import Cost, events

ACCENT = "#0d9488"
THEME = {
    "light": {
        "primaryColor": "#0f766e",
        "backgroundColor": "#fcfcfb",
        "secondaryBackgroundColor": "#f1f3f2",
        "textColor": "#1b2326",
        "borderColor": "#dfe4e3",
    },
    "dark": {
        "primaryColor": "#2dd4bf",
        "backgroundColor": "#101517",
        "secondaryBackgroundColor": "#1a2124",
        "textColor": "#e6ecec",
        "borderColor": "#2c3639",
    },
}

STYLES = """<style>
.block-container {max-width: 1180px; padding-top: 1.6rem; padding-bottom: 4rem}
.figures {display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .6rem 2rem;
  margin: .2rem 0 .4rem}
.figures b {display: block; font-size: 1.9rem; font-weight: 600; letter-spacing: -.02em; line-height: 1.2;
  font-variant-numeric: tabular-nums}
.figures span {font-size: .84rem; opacity: .72}
.figures .first b {color: #0d9488}
.pitch {max-width: 54rem}
h1.pitch {font-size: 1.85rem; font-weight: 680; letter-spacing: -.025em; line-height: 1.15; padding: 0;
  margin: .1rem 0 .35rem}
p.pitch {font-size: 1rem; line-height: 1.45; margin: 0; opacity: .85}
.answer {font-size: 1rem; margin: .2rem 0}
.bars, .shares {display: grid; gap: .3rem; margin: .5rem 0 0}
.bars div, .shares div {display: grid; grid-template-columns: 6.2rem 1fr 2.4rem; align-items: center; gap: .6rem;
  font-size: .86rem}
.bars div {grid-template-columns: 8.6rem 1fr 4.6rem}
.bars i, .shares i {height: .85rem; border-radius: .2rem; background: #ea580c; min-width: 3px}
.bars u {grid-column: 2 / -1; text-decoration: none; opacity: .7}
.bars em {font-style: normal; font-size: .84rem; color: #d97706; font-weight: 600}
.bars .first i, .shares .first i {background: #0d9488} .shares i {background: rgba(128, 140, 140, .45)}
.bars b, .shares b {font-variant-numeric: tabular-nums; font-weight: 600; white-space: nowrap}
.shares .first b, .bars .first b {color: #0d9488}
.strip {display: flex; gap: .35rem; align-items: center; font-size: .84rem; height: 2rem; overflow: hidden}
.strip span {flex: none}
.strip > b {font-size: 1.05rem; font-variant-numeric: tabular-nums; flex: none; min-width: 1.6rem}
.strip.wrap {flex-wrap: wrap; height: auto}
.strip span {padding: .12rem .6rem; border-radius: 1rem; border: 1px solid rgba(128, 140, 140, .35); max-width: 100%;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap}
.strip .new {border-color: #0d9488; color: #0d9488; font-weight: 600}
.strip .more {border: none; opacity: .7; padding-left: 0}
.strip .skipped {border-style: dashed; opacity: .7}
.st-key-moves button {min-height: 1.9rem; padding: .1rem .7rem} .st-key-moves button p {font-size: .84rem}
.st-key-measured {flex-wrap: nowrap} .st-key-measured button {white-space: nowrap}
.st-key-view-body {min-height: 16rem}
.brand {font-size: 1.3rem; font-weight: 650; letter-spacing: -.02em; margin-right: .5rem}
.table {width: 100%; border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums}
.table th {text-align: left; font-weight: 500; opacity: .7; font-size: .8rem}
.table th, .table td {padding: .34rem 1.2rem .34rem 0; border-bottom: 1px solid rgba(128, 140, 140, .2);
  vertical-align: top}
.table th:last-child, .table td:last-child {padding-right: 0}
.table td {overflow-wrap: break-word}
.table td.n, .table th.n {text-align: right; white-space: nowrap}
.table tr.off {opacity: .5}
@media (max-width: 640px) {.table td:first-child {min-width: 4.6rem} .table td:last-child {overflow-wrap: normal}
  .st-key-masthead {gap: 0} .brand {margin-right: .4rem; font-size: 1.15rem}
  h1.pitch {font-size: 1.5rem} p.pitch {font-size: .95rem}
  .table th, .table td {padding-right: .6rem} .table td {overflow-wrap: anywhere}
  .figures b {font-size: 1.6rem}}
.good {color: #0d9488; font-weight: 600}
.bad {color: #dc2626; font-weight: 600}
</style>"""


def style() -> None:
    st.html(STYLES)


def masthead(pages: Sequence[Page]) -> None:
    """The name and links to the pages on one line, on a telephone too."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="masthead"):
        st.html('<div class="brand">deployrec</div>', width="content")
        for page in pages:
            st.page_link(page, width="content")


def figures(*shown: tuple[str, str]) -> None:
    """Large figures side by side, each with a line that says what it is; the first one stands out."""
    cells = "".join(
        f'<div class="{"first" if place == 0 else ""}"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
        for place, (value, label) in enumerate(shown)
    )
    st.html(f'<div class="figures">{cells}</div>')


def table(header: list[str], rows: list[list[str]], numbers: tuple[int, ...] = (), off: Collection[int] = ()) -> None:
    """A table that wraps instead of scrolling; cells are HTML, columns `numbers` stand right, rows `off` are grey."""

    def line(cells: list[str], tag: str) -> str:
        return "".join(
            f'<{tag} class="{"n" if place in numbers else ""}">{cell}</{tag}>' for place, cell in enumerate(cells)
        )

    head = f"<tr>{line(header, 'th')}</tr>" if any(header) else ""
    body = "".join(f'<tr class="{"off" if at in off else ""}">{line(row, "td")}</tr>' for at, row in enumerate(rows))
    st.html(f'<table class="table">{head}{body}</table>')


def bars(found: Cost) -> None:
    """The newest event's cost both ways, as bars of one scale."""
    longest = max(spread.p50 for spread in (found.again, found.step) if spread)
    lines = [("first", "one step", found.step), ("", f"re-read {events(found.events)}", found.again)]
    wild = [duration(spread.p95) for _, _, spread in lines if spread and not spread.reliable]
    trust = f"<em>{UNRELIABLE}: p95 {' and '.join(wild)}</em>" if wild else ""
    cells = "".join(
        f'<div class="{kind}"><span>{name}</span><i style="width:{100 * spread.p50 / longest:.2f}%"></i>'
        f"<b>{duration(spread.p50)}</b></div>"
        if spread
        else f"<div><span>{name}</span><u>{escape(found.reason)}</u></div>"
        for kind, name, spread in lines
    )
    st.html(f'<div class="bars">{cells}{trust}</div>')


def markdown(text: str) -> str:
    """Plain text as it has to be written in a Streamlit label."""
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()<>#+-.!|~$:" else sign for sign in text)


def duration(seconds: float) -> str:
    """Three figures with a fitting unit: 71.2 µs, 1.53 ms, 2.10 s."""
    unit, factor = ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    value = seconds * factor
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def size(count: float) -> str:
    """Bytes with a fitting unit: 512 B, 4.0 KiB, 1.2 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:,.0f} B" if unit == "B" else f"{count:,.1f} {unit}"
