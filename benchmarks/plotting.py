"""Plots of measured results (needs matplotlib)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def plot_kernels(results: dict[str, Any], path: Path) -> Path:
    """Forward + backward time beside the error, one group of bars per case; writes an SVG."""
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
            colour = "tab:blue" if line["name"] == "deployrec" else "lightgrey"
            milliseconds = line["forward_backward"].median * 1e3
            times.barh(position, milliseconds, color=colour)
            times.text(milliseconds, position, f" {milliseconds:.3g} ms", va="center", fontsize=7)
            errors.barh(position, max(line["error"], 1e-9), left=0, color=colour)
        position += 1
    times.set_yticks([where for where, _, _ in labels], [text for _, text, _ in labels], fontsize=7)
    for tick, (_, _, is_title) in zip(times.get_yticklabels(), labels, strict=True):
        tick.set_fontweight("bold" if is_title else "normal")
    times.invert_yaxis()
    times.set_xscale("log")
    errors.set_xscale("log")
    times.set_xlabel("forward + backward, ms")
    errors.set_xlabel("max error / max value, against float64")
    figure.suptitle(f"{results['machine']['device']}, {results['machine']['threads']} threads", fontsize=9)
    figure.savefig(path)
    return path
