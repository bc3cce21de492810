"""How the demo looks: its colours as Streamlit flags, its few own styles, and figures as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

import streamlit as st
from streamlit.navigation.page import Page

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
.strip {display: flex; flex-wrap: wrap; gap: .35rem; align-items: center; font-size: .84rem; min-height: 1.9rem}
.strip span {padding: .12rem .6rem; border-radius: 1rem; border: 1px solid rgba(128, 140, 140, .35); max-width: 100%;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap}
.strip .new {border-color: #0d9488; color: #0d9488; font-weight: 600}
.strip .more {border: none; opacity: .7; padding-left: 0}
.strip .skipped {border-style: dashed; opacity: .7}
[class*="st-key-row"] button {justify-content: flex-start; padding: .2rem .3rem; min-height: 2.2rem; border-radius: 0;
  border-bottom: 1px solid rgba(128, 140, 140, .18)}
[class*="st-key-row"] button > div {justify-content: flex-start; width: 100%; min-width: 0}
[class*="st-key-row"] button p {text-align: left; overflow-wrap: anywhere; font-variant-numeric: tabular-nums}
[class*="st-key-row-place"] button p > span:nth-of-type(1) {display: inline-block; width: 1.6rem}
[class*="st-key-row-place"] button p > span:nth-of-type(2) {display: inline-block; width: 2.5rem; font-size: .8rem}
.st-key-places, .st-key-results {gap: 0}
.brand {font-size: 1.3rem; font-weight: 650; letter-spacing: -.02em; margin-right: .5rem}
.table {width: 100%; border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums}
.table th {text-align: left; font-weight: 500; opacity: .7; font-size: .8rem}
.table th, .table td {padding: .34rem 1.2rem .34rem 0; border-bottom: 1px solid rgba(128, 140, 140, .2);
  vertical-align: top}
.table th:last-child, .table td:last-child {padding-right: 0}
.table td {overflow-wrap: break-word}
.table td.n, .table th.n {text-align: right; white-space: nowrap}
.table tr.off {opacity: .5}
@media (max-width: 640px) {.table th, .table td {padding-right: .6rem} .table td {overflow-wrap: anywhere}
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
