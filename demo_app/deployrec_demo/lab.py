"""The latency lab: measure on this machine from the page, or look at what was recorded; each number says which."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from deployrec_demo import look, resources

if TYPE_CHECKING:
    from deployrec.benchmark import BenchmarkReport, Cell
    from deployrec_demo.bench_run import BenchmarkRun

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
    _figures(report, kind)
    _history(report, label)
    _axes(
        report,
        label,
        {**dict.fromkeys(absent, "not in this recording"), **_skipped(report)} if kind == "recorded" else absent,
    )
    _download(report, kind)


@st.cache_resource(show_spinner=False)
def _run() -> BenchmarkRun:
    from deployrec_demo.bench_run import BenchmarkRun

    return BenchmarkRun()


def _controls(run: BenchmarkRun) -> None:
    from deployrec.models import available_models
    from deployrec_demo.bench_run import config_of

    st.markdown("#### Latency lab")
    if run.running:
        st.fragment(_progress, run_every=0.5)(run)
        return
    engine = resources.engine()
    rivals = [key for key in available_models() if key != engine.manifest.model["key"]]
    left, right = st.columns(2, gap="medium")
    with left:
        depth = st.radio("What to measure", DEPTHS, key="depth", horizontal=True, label_visibility="collapsed")
    with right:
        chosen = st.multiselect("Beside it", rivals, key="rivals", placeholder="Beside it: other models, untrained",
                                label_visibility="collapsed")  # fmt: skip
    if st.button("Measure on this machine", type="primary", key="measure"):
        run.start([engine.bundle.path], config_of(depth == DEPTHS[1], chosen))
        st.rerun()


def _progress(run: BenchmarkRun) -> None:
    if not run.running:
        st.rerun()
    st.progress(min(1.0, run.done / run.total) if run.total else 0.0, text=look.markdown(run.what))
    st.button("Cancel", on_click=run.cancel, key="cancel")


def _figures(report: BenchmarkReport, kind: str) -> None:
    from deployrec.benchmark import ENCODE, STEP, break_even

    label = report.subjects[0].label
    step, encode = (report.fastest("history", label, mode) for mode in (STEP, ENCODE))
    if not step or not encode:
        return
    base = report.config.base_history
    at = {cell.history: cell.latency.p50 for cell in step}
    again = {cell.history: cell.latency.p50 for cell in encode}
    shared = [length for length in again if length in at]
    shown = [(look.duration(at[base]), f"{kind}: {label}, one step after {base:,} events")] if base in at else []
    shown += [(look.duration(again[n]), f"{kind}: re-reading {n:,} events") for n in {base, max(again)} if n in again]
    if shared:
        longest = max(shared)
        shown.append((f"{again[longest] / at[longest]:.0f}x", f"{kind}: faster at {longest:,} events"))
    look.figures(*shown)
    even = break_even(step, encode)
    if even is not None:
        first = even <= min(again)
        st.markdown(
            "A step is faster from the first event on." if first else f"A step is faster from {even:.0f} events on."
        )


def _history(report: BenchmarkReport, label: str) -> None:
    from deployrec_demo.charts import latency_lines

    chosen = st.segmented_control("Percentile", ["p50", "p95", "p99"], default="p50", required=True, key="percentile",
                                  label_visibility="collapsed")  # fmt: skip
    lines = {
        (subject.label, mode, backend): report.curve("history", subject.label, mode, backend)
        for subject in report.subjects
        for mode in NAMES
        for backend in report.backends(subject.label, mode)
    }
    st.markdown("**One user's latency against the events in the history**")
    st.plotly_chart(latency_lines(lines, chosen), config={"displayModeBar": False}, key="lines")
    st.caption(
        f"{label}. Both axes logarithmic; {report.config.base_batch} user, {_threads(report.config.base_threads)}. "
        "A click on a name shows or hides its line."
    )


def _axes(report: BenchmarkReport, label: str, absent: dict[str, str]) -> None:
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
