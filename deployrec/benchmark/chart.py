"""The README's chart: latency against history length, a line for each model and way. Needs the extra `benchmarks`."""

from __future__ import annotations

from pathlib import Path

from deployrec.benchmark.report import ENCODE, STEP, BenchmarkReport

CPP = "native"


def write_chart(report: BenchmarkReport, path: str | Path) -> None:
    """Writes the median latency along the history axis to an SVG file: each way on its fastest backend, and a step in
    C++ besides."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.hashsalt": "deployrec", "svg.fonttype": "none", "font.family": "sans-serif"}
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
    labels = list(dict.fromkeys(cell.label for cell in report.cells))
    windows = {peer.label: peer.window for peer in report.peers if peer.window}
    for place, label in enumerate(labels):
        again = f"newest {windows[label]:,} read again" if label in windows else "history read again"
        lines = (
            (report.fastest("history", label, STEP, but=(CPP,)), "-", "one step"),
            (report.curve("history", label, STEP, CPP), ":", "one step in C++"),
            (report.fastest("history", label, ENCODE, but=(CPP,)), "--", again),
        )
        for cells, style, way in lines:
            if len(cells) > 1:
                x = [cell.history for cell in cells]
                y = [cell.latency.p50 * 1e3 for cell in cells]
                axes.plot(x, y, style, color=f"C{place}", marker="o", markersize=3, label=f"{label}, {way}")
    config = report.config
    axes.set(xscale="log", yscale="log", xlabel="events in the user's history", ylabel="milliseconds (median)")
    figure.suptitle(
        f"The {config.k} best of {report.subjects[0].num_items:,} items, bare graphs, batch {config.base_batch}, "
        f"{config.base_threads} thread, {report.machine['processor']}, {report.created[:10]}",
        fontsize=9,
    )
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    # The date would make every file differ; the report holds it.
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
