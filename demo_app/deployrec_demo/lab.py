"""The latency lab: measure on this machine from the page, or look at what was recorded; each number says which."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from deployrec.progress import clock
from deployrec_demo import look, resources
from deployrec_demo.ways import events

if TYPE_CHECKING:
    from deployrec.benchmark import BenchmarkReport, Cell, Subject
    from deployrec_demo.bench_run import BenchmarkRun

RIVAL = "sasrec"
"""Beside the served model unless others are asked for."""
DEPTHS = ("History only, in seconds", "All axes, about a minute")
NAMES = {"step": "step", "encode": "re-encode"}


def page() -> None:
    try:
        with st.spinner("Loading the benchmark ..."):
            from deployrec_demo import bench_run
    except ImportError as error:
        st.info(f"The lab needs torch and the exporter; got no {error.name}; run pip install deployrec")
        return
    run = _run()
    _controls(run)
    if run.error:
        st.error(run.error)
    reports = {"live": run.report, "recorded": bench_run.recorded()}
    kinds = [kind for kind, report in reports.items() if report and report.cells]
    absent = bench_run.absent_backends()
    if not kinds:
        st.caption("Nothing measured yet: the chart of latency against history length appears here.")
        look.table(
            ["not on this machine", ""], [[escape(n), escape(why)] for n, why in absent.items()], off=range(len(absent))
        )
        return
    kind = kinds[0]
    if len(kinds) > 1:
        kind = st.segmented_control(
            "Numbers", kinds, default=kind, required=True, format_func=str.capitalize, key="kind"
        )
    report = reports[kind]
    assert report is not None
    label = f"{kind.capitalize()}: {_origin(report)}"
    subject = _subject(report)
    if subject is None:
        measured = " and ".join(dict.fromkeys(subject.model for subject in report.subjects))
        st.info(f"This recording is of {measured}, not of the bundle that is open: measure here to see it.")
    _figures(report, (subject or report.subjects[0]).label, kind)
    every = st.toggle("Every model, call and backend", key="every")
    shown = [] if every else _shown(report, subject or report.subjects[0])
    _history(report, label, shown)
    _axes(
        report,
        label,
        shown,
        {**dict.fromkeys(absent, "not in this recording"), **_skipped(report)} if kind == "recorded" else absent,
    )
    _download(report, kind)


def _subject(report: BenchmarkReport) -> Subject | None:
    """The open bundle's model in a report, itself where it was measured; None where another model was."""
    manifest = resources.engine().manifest
    same = [subject for subject in report.subjects if subject.model == manifest.model["key"]]
    itself = [subject for subject in same if subject.bundle_id == manifest.bundle_id]
    return next(iter(itself or same), None)


def _shown(report: BenchmarkReport, subject: Subject) -> list[str]:
    """Labels that a page begins with: the subject's, and its rival's."""
    rivals = [other.label for other in report.subjects if other.model != subject.model]
    return [subject.label, *(label for label in rivals if label == RIVAL), *rivals][:2]


@st.cache_resource(show_spinner=False)
def _run() -> BenchmarkRun:
    from deployrec_demo.bench_run import BenchmarkRun

    return BenchmarkRun()


def _controls(run: BenchmarkRun) -> None:
    from deployrec.models import available_models
    from deployrec_demo.bench_run import BACKENDS, absent_backends, config_of

    st.html(
        '<h1 class="pitch">Latency lab</h1><p class="pitch">The served model by steps and by reading the history '
        "again, beside another model, on this machine, in turns.</p>"
    )
    if run.running:
        st.fragment(_progress, run_every=0.5)(run)
        return
    engine = resources.engine()
    rivals = [key for key in available_models() if key != engine.manifest.model["key"]]
    backends = [name for name in BACKENDS if name not in absent_backends()]
    with st.expander("What to measure"):
        depth = st.radio("Axes", DEPTHS, key="depth", horizontal=True)
        chosen = st.multiselect("Beside it, with random weights", rivals, [RIVAL] if RIVAL in rivals else rivals[:1],
                                key="rivals")  # fmt: skip
        ways = st.multiselect("Backends", backends, backends[:1], key="backends")
    if st.button("Measure on this machine", type="primary", key="measure", disabled=not ways):
        run.start([engine.bundle.path], config_of(depth == DEPTHS[1], chosen, ways))
        st.rerun()


def _progress(run: BenchmarkRun) -> None:
    if not run.running:
        st.rerun()
    left = "" if run.left is None else f", about {clock(run.left)} left"
    share = min(1.0, run.done / run.total) if run.total else 0.0
    st.progress(share, text=look.markdown(f"{run.what}{left}"))
    if st.button("Cancel", key="cancel", help="What has been measured until now is kept."):
        run.cancel()
        st.rerun()


def _figures(report: BenchmarkReport, label: str, kind: str) -> None:
    """A step and a re-read on one backend: the one that is fastest for the step."""
    from deployrec.benchmark import ENCODE, STEP, break_even

    base = report.config.base_history
    fastest = {cell.history: cell.backend for cell in report.fastest("history", label, STEP)}
    backend = fastest.get(base) or next(iter(fastest.values()), None)
    if backend is None:
        return
    step, encode = (report.curve("history", label, mode, backend) for mode in (STEP, ENCODE))
    at, again = ({cell.history: cell.latency.p50 for cell in cells} for cells in (step, encode))
    shared = sorted(length for length in again if length in at)
    if not shared:
        return
    place, longest = base if base in shared else shared[-1], shared[-1]
    by = f"{kind}, {backend}"
    shown = [(look.duration(at[place]), f"{by}: {label}, one step after {events(place)}")]
    shown += [(look.duration(again[n]), f"{by}: re-reading {events(n)}") for n in sorted({place, longest})]
    shown.append((f"{again[longest] / at[longest]:.0f}x", f"{by}: faster at {events(longest)}"))
    look.figures(*shown)
    even = break_even(step, encode)
    if even is not None:
        first = even <= min(again)
        st.markdown(
            "A step is faster from the first event on." if first else f"A step is faster from {even:.0f} events on."
        )


def _history(report: BenchmarkReport, label: str, shown: list[str]) -> None:
    """Lines of the labels in `shown` on their first backend; all there are if it is empty."""
    from deployrec_demo.charts import latency_lines

    chosen = st.segmented_control("Percentile", ["p50", "p95", "p99"], default="p50", required=True, key="percentile",
                                  label_visibility="collapsed")  # fmt: skip
    lines = {
        (subject.label, mode, backend): report.curve("history", subject.label, mode, backend)
        for subject in report.subjects
        for mode in NAMES
        for backend in report.backends(subject.label, mode)[: 1 if shown else None]
        if not shown or subject.label in shown
    }
    st.markdown("**One user's latency against the events in the history**")
    st.plotly_chart(latency_lines(lines, chosen), config={"displayModeBar": False}, key="lines")
    st.caption(
        f"{label}. Both axes are logarithmic; {report.config.base_batch} user, {_threads(report.config.base_threads)}. "
        "A click on a name shows or hides its line."
    )


def _axes(report: BenchmarkReport, label: str, shown: list[str], absent: dict[str, str]) -> None:
    batches = sorted({cell.batch for cell in report.cells})
    sizes = sorted({cell.catalogue for cell in report.cells})
    st.markdown("**Percentiles**")
    left, right = st.columns(2, gap="medium")
    with left:
        batch = st.select_slider("Users per batch", batches, key="batch") if len(batches) > 1 else batches[0]
    with right:
        own = report.subjects[0].num_items
        size = (
            st.select_slider("Items in the catalogue", sizes, value=own, key="catalogue")
            if len(sizes) > 1
            else sizes[0]
        )
    config = report.config
    cells = [
        cell
        for cell in report.cells
        if (cell.history, cell.threads) == (config.base_history, config.base_threads)
        and (cell.batch, cell.catalogue) == (batch, size)
    ]
    backend = cells[0].backend if cells else ""
    if shown:
        cells = [cell for cell in cells if cell.mode in NAMES and cell.label in shown and cell.backend == backend]
    if not cells:
        st.caption("One axis varies at a time: set one of the two sliders back to its start.")
    rows = [_row(cell) for cell in sorted(cells, key=lambda cell: cell.latency.p50)]
    absent = {name: reason for name, reason in absent.items() if all(cell.backend != name for cell in report.cells)}
    off = tuple(range(len(rows), len(rows) + len(absent)))
    rows += [[f"{escape(name)}: {escape(reason)}", "", "", "", ""] for name, reason in absent.items()]
    look.table(["", "p50", "p95", "p99", "users/s"], rows, numbers=(1, 2, 3, 4), off=off)
    if len(batches) == len(sizes) == 1:
        st.caption("Measure all axes to move the batch and the catalogue too.")
    st.caption(f"{label}. History of {config.base_history:,} events, {_threads(config.base_threads)}.")


def _skipped(report: BenchmarkReport) -> dict[str, str]:
    """Whole backends that the report names as absent."""
    return {skipped.what: skipped.reason for skipped in report.skipped if " " not in skipped.what}


def _row(cell: Cell) -> list[str]:
    latency = cell.latency
    name = f"{cell.label} {NAMES.get(cell.mode, cell.mode)}, {cell.backend}"
    return [escape(name), *map(look.duration, (latency.p50, latency.p95, latency.p99)), f"{cell.throughput:,.0f}"]


def _download(report: BenchmarkReport, kind: str) -> None:
    from deployrec.files import canonical_json

    data = canonical_json(report.to_dict())
    st.download_button(f"Download the {kind} numbers as JSON", data, f"latency-{kind}.json", "application/json",
                       on_click="ignore", key="download")  # fmt: skip
    with st.expander("Machine and versions"):
        rows = [[escape(name), escape(str(value))] for name, value in {**report.machine, **report.versions}.items()]
        look.table(["", ""], rows)


def _origin(report: BenchmarkReport) -> str:
    machine = report.machine
    place = f"{machine.get('processor')}, {machine.get('cores')} cores" + (
        f", {machine['gpu']}" if machine.get("gpu") else ""
    )
    return f"{place}, {report.created[:16].replace('T', ' ')} UTC" + (", stopped early" if report.cancelled else "")


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"
