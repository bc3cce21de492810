"""The lab and the bundle's page as a visitor drives them, without a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from deployrec.benchmark import BenchmarkConfig, BenchmarkReport, Cell, Latency, Skipped, Subject
from deployrec.progress import Progress
from deployrec_demo import bench_run
from tests.demo_app.conftest import text

Watch = Callable[[Callable[[], BenchmarkReport]], None]


def test_the_bundle_page_shows_the_certificate_and_reruns_it(
    opened: Callable[..., AppTest], bundle_of: Callable[[str], Path]
) -> None:
    app = opened(page="bundle_page")
    assert not app.exception
    manifest = json.loads((bundle_of("recblr") / "manifest.json").read_text())
    shown = text(app)
    assert manifest["bundle_id"][:16] in shown
    assert all(name in shown for name in manifest["files"])
    assert all(tensor["name"] in shown for tensor in manifest["state"]["tensors"])
    comparisons = json.loads((bundle_of("recblr") / "parity.json").read_text())["comparisons"]
    assert f"{len(comparisons):,}" in shown
    for graph in ("step", "advance", "encode", "score"):
        app.segmented_control(key="graph").set_value(graph).run()
        assert not app.exception
        assert f"{graph}.onnx" in text(app)
        assert len(app.get("graphviz_chart")) == 1
    app.button(key="verify").click().run()
    assert "comparisons hold on this machine" in app.success[0].value


def report(created: str, p50: float, cancelled: bool = False) -> BenchmarkReport:
    latency = [Latency(p50 * factor, 2 * p50 * factor, 3 * p50 * factor, p50 * factor, 9) for factor in (1, 20)]
    cells = [
        Cell("recblr", mode, "onnxruntime", batch, history, 30, 1, latency[mode == "encode"])
        for mode in ("step", "encode")
        for batch, history in ((1, 10), (1, 200), (8, 200))
    ]
    subject = Subject("recblr", "recblr", {}, "b", False, 30, 4, None, 64, 128, 480)
    config = BenchmarkConfig(history=(10, 200), batch=(1, 8), catalogue=(), threads=())
    skipped = [Skipped("torch-cuda", "no GPU that torch can use")]
    machine = {"processor": f"processor of {created}", "cores": 2, "gpu": None}
    return BenchmarkReport(config, machine, {}, {}, [subject], cells, skipped, [], created, cancelled)


def test_the_lab_labels_recorded_and_live_numbers(
    opened: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report("2026-01-02T03:04:05+00:00", 0.001).save(tmp_path / "latency.json")
    monkeypatch.setattr(bench_run, "RECORDED", (tmp_path / "latency.json",))
    app = opened(page="lab")
    assert not app.exception
    shown = text(app)
    assert shown.count("Recorded: processor of 2026-01-02T03:04:05+00:00, 2 cores, 2026-01-02 03:04 UTC") == 2
    assert "recorded, onnxruntime: re-reading 200 events" in shown
    assert "Live" not in shown
    assert "torch-cuda: no GPU that torch can use" in shown
    assert "1 ms" in shown
    app.select_slider(key="batch").set_value(8).run()
    assert "8,000" in text(app)

    def measured(
        bundles: list[Path], config: BenchmarkConfig, progress: Progress, cancelled: Callable[[], bool], watch: Watch
    ) -> BenchmarkReport:
        assert (config.rivals, config.backends) == (("sasrec",), ("onnxruntime",))
        progress(1, 2, "a cell")
        return report("2026-05-06T07:08:09+00:00", 0.002)

    monkeypatch.setattr(bench_run, "run_benchmark", measured)
    app.button(key="measure").click().run()
    from deployrec_demo import lab

    lab._run().wait()
    app.run()
    assert not app.exception
    shown = text(app)
    assert "Live: processor of 2026-05-06" in shown
    assert "live, onnxruntime: re-reading 200 events" in shown
    assert "Recorded" not in shown
    app.segmented_control(key="kind").set_value("recorded").run()
    assert "Recorded: processor of 2026-01-02" in text(app)


def test_the_lab_without_numbers_says_what_is_missing(
    opened: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_run, "RECORDED", ())
    app = opened(page="lab")
    assert not app.exception
    assert "Nothing measured yet" in text(app)


def test_a_running_measurement_can_be_cancelled_from_the_page(
    opened: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_run, "RECORDED", ())

    def endless(
        bundles: list[Path], config: BenchmarkConfig, progress: Progress, cancelled: Callable[[], bool], watch: Watch
    ) -> BenchmarkReport:
        while not cancelled():
            progress(3, 10, "a cell of many")
        return report("2026-05-06T07:08:09+00:00", 0.002, cancelled=True)

    monkeypatch.setattr(bench_run, "run_benchmark", endless)
    app = opened(page="lab")
    app.button(key="measure").click().run()
    assert not app.exception
    app.button(key="cancel").click().run()
    from deployrec_demo import lab

    lab._run().wait()
    app.run()
    assert "stopped early" in text(app)


def test_figures_of_the_lab_are_of_one_backend(opened: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch,
                                               tmp_path: Path) -> None:  # fmt: skip
    both = report("2026-01-02T03:04:05+00:00", 0.001)
    slow = Latency(0.5, 0.6, 0.7, 0.5, 9)
    torch = [Cell("recblr", "step", "torch", 1, history, 30, 1, slow) for history in (10, 200)]
    torch += [
        Cell("recblr", "encode", "torch", 1, history, 30, 1, Latency(1e-6, 2e-6, 3e-6, 1e-6, 9))
        for history in (10, 200)
    ]
    both.cells.extend(torch)
    both.save(tmp_path / "latency.json")
    monkeypatch.setattr(bench_run, "RECORDED", (tmp_path / "latency.json",))
    shown = text(opened(page="lab"))
    assert "recorded, onnxruntime: recblr, one step after 200 events" in shown
    assert "20x</b><span>recorded, onnxruntime: faster at 200 events" in shown


def test_a_recording_of_another_model_is_said_to_be_one(
    opened: Callable[..., AppTest], bundle_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report("2026-01-02T03:04:05+00:00", 0.001).save(tmp_path / "latency.json")
    monkeypatch.setattr(bench_run, "RECORDED", (tmp_path / "latency.json",))
    app = opened(bundle_of("glintru"), page="lab")
    assert not app.exception
    assert "recording is of recblr, not of the bundle that is open" in app.info[0].value
    assert not opened(page="lab").info
