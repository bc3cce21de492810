"""A report for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from deployrec.benchmark.config import AXES
from deployrec.benchmark.findings import Finding, findings
from deployrec.benchmark.report import ADVANCE, ENCODE, SCORE, STEP, BenchmarkReport, Cell, Peer

TITLES = {
    "history": "history length",
    "batch": "users in a batch",
    "catalogue": "items in the catalogue",
    "threads": "threads",
}
MODES = {STEP: "step", ENCODE: "re-encode", ADVANCE: "advance, no list", SCORE: "list alone"}
"""The graphs; public calls go by their names."""


def tables(report: BenchmarkReport) -> Group:
    """One table an axis (p50 in ms), the tail at the base, a request's parts, the models' sizes, what was skipped."""
    axes = [axis_table(report, axis) for axis in AXES if getattr(report.config, axis)]
    parts: list[Table | Text] = [*axes, _tail(report), *([_stages(report)] if report.stages else []), _sizes(report)]
    parts += [Text(sentence(finding)) for finding in findings(report)]
    parts += [Text(line) for peer in report.peers for line in peer_lines(peer)]
    parts += [Text(f"skipped: {row.what}: {row.reason}", style="dim") for row in report.skipped]
    return Group(*parts)


def axis_table(report: BenchmarkReport, axis: str) -> Table:
    """Medians along one axis; one line a model, mode and backend."""
    curves = {line: report.curve(axis, *line) for line in _lines(report)}
    places = sorted({getattr(cell, axis) for cells in curves.values() for cell in cells})
    table = _table(f"median ms by {TITLES[axis]}{_base(report, axis)}", "model", "way", "backend")
    for place in places:
        table.add_column(f"{place:,}", justify="right")
    for (label, mode, backend), cells in curves.items():
        found = {getattr(cell, axis): cell for cell in cells}
        if found:
            figures = [milliseconds(found[place].latency.p50) if place in found else "-" for place in places]
            table.add_row(label, MODES.get(mode, mode), backend, *figures)
    return table


def sentence(finding: Finding) -> str:
    """What the fastest backends' curves say about one model."""
    first, last = min(finding.step), max(finding.step)
    text = (
        f"{finding.label}: a step takes {milliseconds(finding.step[first])} ms after {times(first, 'event')} and "
        f"{milliseconds(finding.step[last])} ms after {last:,}"
    )
    if finding.window and last >= finding.window:
        text += f", where it reads the newest {finding.window:,} again"
    elif finding.slope and finding.slope.inside_noise:
        text += ", no growth beyond the noise"
    common = [length for length in (200, 2000) if length in finding.step and length in finding.encode]
    text += "".join(
        f"; reading {length:,} events again takes {finding.speedup(length):,.0f}x as long" for length in common
    )
    if finding.break_even is None:
        return f"{text}; a step never pays."
    return f"{text}; a step pays from {times(round(finding.break_even), 'event')} on."


def peer_lines(peer: Peer) -> list[str]:
    """What another project's call includes, its versions, and how far its answers are from its own torch's."""
    versions = ", ".join(f"{name} {version}" for name, version in peer.versions.items())
    reads = f"; reads the newest {peer.window:,} events" if peer.window else ""
    first = f"{peer.label} ({versions}): {peer.includes}{reads}"
    return [first, *(f"  {where}: {text}" for where, text in peer.differences.items())]


def times(number: int, what: str) -> str:
    """ "1 event", "2,000 events"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def milliseconds(seconds: float) -> str:
    """Three significant digits."""
    value = seconds * 1e3
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _tail(report: BenchmarkReport) -> Table:
    columns = ("p50", "p95", "p99", "users/s", "calls")
    table = _table(f"the tail, in ms{_base(report, '')}", "model", "way", "backend", *columns)
    for column in table.columns[3:]:
        column.justify = "right"
    for line in _lines(report):
        for cell in _at_base(report, *line):
            latency = cell.latency
            figures = [milliseconds(value) for value in (latency.p50, latency.p95, latency.p99)]
            table.add_row(
                line[0], MODES.get(line[1], line[1]), line[2], *figures, f"{cell.throughput:,.0f}", f"{latency.calls:,}"
            )
    return table


def _stages(report: BenchmarkReport) -> Table:
    names = list(dict.fromkeys(stage.name for stage in report.stages))
    table = _table("the parts of one request and the costs of a start, in ms, ONNX Runtime", "part")
    labels = list(dict.fromkeys(stage.label for stage in report.stages))
    for label in labels:
        table.add_column(label, justify="right")
    found = {(stage.name, stage.label): stage.seconds for stage in report.stages}
    for name in names:
        table.add_row(name, *(milliseconds(found[name, label]) for label in labels))
    return table


def _sizes(report: BenchmarkReport) -> Table:
    table = _table("memory", "model", "state of a user", "all that is stored of a user", "item table")
    for subject in report.subjects:
        sizes = (subject.state_bytes, subject.user_bytes, subject.table_bytes)
        table.add_row(subject.label, *(f"{size / 1024:,.1f} KiB" for size in sizes))
    return table


def _lines(report: BenchmarkReport) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((cell.label, cell.mode, cell.backend) for cell in report.cells))


def _at_base(report: BenchmarkReport, label: str, mode: str, backend: str) -> list[Cell]:
    return [c for c in report.curve("history", label, mode, backend) if c.history == report.config.base_history]


def _base(report: BenchmarkReport, axis: str) -> str:
    """The other axes' values, in words."""
    config = report.config
    base = {
        "history": f"history {config.base_history:,}",
        "batch": f"batch {config.base_batch}",
        "threads": times(config.base_threads, "thread"),
        "k": f"k = {config.k}",
    }
    return "".join(f", {text}" for name, text in base.items() if name != axis)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table
