"""Plots of measured results (needs matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot_kernels(results: dict[str, Any], path: Path) -> Path:
    """Forward + backward time beside the error, one group of dots per case; writes an SVG."""
    cases = results["cases"]
    figure = Figure(figsize=(11, 1.2 + 0.28 * sum(len(case["lines"]) + 1 for case in cases)), layout="constrained")
    times, errors = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    labels, position = [], 0
    for case in cases:
        size = "x".join(str(extent) for extent in case["shape"])
        labels.append((position, f"{case['recurrence']} {size} {case['dtype']}", True))
        for line in case["lines"]:
            position += 1
            labels.append((position, line["name"], False))
            if "failed" in line:
                continue
            colour = "tab:blue" if line["name"] == "deployrec" else "grey"
            milliseconds = line["forward_backward"].median * 1e3
            times.plot(milliseconds, position, "o", color=colour)
            shown = f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"
            times.annotate(f"{shown} ms", (milliseconds, position), (6, -2.5), textcoords="offset points", fontsize=7)
            errors.plot(max(line["error"], 1e-9), position, "o", color=colour)
        position += 1
    times.set_yticks([where for where, _, _ in labels], [text for _, text, _ in labels], fontsize=7)
    for tick, (_, _, is_title) in zip(times.get_yticklabels(), labels, strict=True):
        tick.set_fontweight("bold" if is_title else "normal")
    times.invert_yaxis()
    times.set_xscale("log")
    times.margins(x=0.15, y=0.005)
    errors.set_xscale("log")
    times.set_xlabel("forward + backward, ms")
    errors.set_xlabel("max error / max value, against float64")
    figure.suptitle(f"{results['machine']['device']}, {results['machine']['threads']} threads", fontsize=9)
    for axes in (times, errors):
        axes.grid(axis="y", linewidth=0.3)
    figure.savefig(path)
    return path
