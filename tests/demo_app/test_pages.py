"""The pages as a visitor drives them, without a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import deployrec_demo
from deployrec.benchmark import BenchmarkConfig, BenchmarkReport, Cell, Latency, Skipped, Subject
from deployrec.progress import Progress
from deployrec_demo import bench_run, resources, session
from deployrec_demo.engine import Engine
from deployrec_demo.torch_twin import TorchTwin
from tests.runtime.conftest import Twin

APP = Path(deployrec_demo.__file__).with_name("app.py")
WAIT = 60


@pytest.fixture
def opened(bundle_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Opens the app, or one page of it, on a bundle; torch is loaded before the page asks for it."""

    def open_on(bundle: Path | None = None, page: str | None = None) -> AppTest:
        bundle = bundle or bundle_of("recblr")
        monkeypatch.setenv(resources.BUNDLE, str(bundle))
        st.cache_resource.clear()
        monkeypatch.setattr(
            resources.LateTorch, "__init__", lambda self, bundle: setattr(self, "found", TorchTwin(bundle))
        )
        if page is None:
            return AppTest.from_file(str(APP), default_timeout=WAIT).run()
        return AppTest.from_string(f"from deployrec_demo import {page}\n{page}.page()", default_timeout=WAIT).run()

    return open_on


def titles(app: AppTest) -> list[str]:
    return [app.button(key=f"row-place-{rank}").label.split(" ", 2)[2] for rank in range(1, 11)]


def text(app: AppTest) -> str:
    return "\n".join(str(block.value) for block in (*app.markdown, *app.caption)) + "\n".join(
        block.proto.body for block in app.get("html")
    )


def test_three_clicks_move_the_list_and_show_what_they_cost(opened: Callable[..., AppTest]) -> None:
    app = opened()
    assert not app.exception
    assert "Most popular" in text(app)
    lists = [titles(app)]
    for _ in range(3):
        app.button(key="row-place-3").click().run()
        assert not app.exception
        lists.append(titles(app))
    assert all(before != after for before, after in pairwise(lists))
    shown = text(app)
    assert "Next for this user" in shown
    assert "all 3 events again, torch" in shown
    assert shown.count(">same<") == 4
    assert "differs" not in shown
    assert len(app.get("plotly_chart")) == 1
    assert app.session_state["answered"] > 0


def test_undo_and_reset_lead_back(opened: Callable[..., AppTest]) -> None:
    app = opened()
    start = titles(app)
    assert app.button(key="undo").disabled
    assert app.button(key="reset").disabled
    app.button(key="row-place-1").click().run()
    once = titles(app)
    app.button(key="row-place-1").click().run()
    app.button(key="undo").click().run()
    assert [title.split("[")[0] for title in titles(app)] == [title.split("[")[0] for title in once]
    app.button(key="reset").click().run()
    assert titles(app) == start


def test_search_and_genres_find_items_that_can_be_clicked(opened: Callable[..., AppTest]) -> None:
    app = opened()
    wanted = resources.engine().shelf.titles[200]
    app.text_input(key="query").input(wanted).run()
    assert wanted in app.button(key="row-found-0").label
    app.button(key="row-found-0").click().run()
    assert app.session_state["visit"].rows == (200,)
    app.text_input(key="query").input("").run()
    app.multiselect(key="kinds").select("Western").run()
    assert all("Western" in app.button(key=f"row-found-{place}").label for place in range(8))
    app.text_input(key="query").input("zzz").run()
    assert "Nothing has all of these words" in text(app)


def test_a_real_user_begins_with_a_history_and_an_unknown_item_is_counted(opened: Callable[..., AppTest]) -> None:
    app = opened()
    app.button(key="real").click().run()
    visit = app.session_state["visit"]
    assert tuple(visit.rows) in {tuple(rows) for rows in resources.engine().real_histories()}
    before = titles(app)
    app.button(key="unknown").click().run()
    assert not app.exception
    assert app.session_state["visit"].rows == visit.rows
    assert "1 unknown, skipped" in text(app)
    assert [line.split("] ", 1)[-1] for line in titles(app)] == [line.split("] ", 1)[-1] for line in before]


def test_seen_items_come_again_only_where_asked_for(opened: Callable[..., AppTest]) -> None:
    app = opened()
    for _ in range(4):
        app.button(key="row-place-1").click().run()
    engine, visit = resources.engine(), app.session_state["visit"]
    for again in (False, True, False):
        app.toggle(key="seen_again").set_value(again).run()
        assert not app.exception
        expected = [engine.shelf.titles[place.row] for place in session.top(engine, visit, exclude_seen=not again)]
        assert all(title in line for title, line in zip(expected, titles(app), strict=True))


def test_a_broken_bundle_is_one_clear_message(
    opened: Callable[..., AppTest], bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    broken = shutil.copytree(bundle_of("recblr"), tmp_path / "broken")
    (broken / "items.csv").write_text("item_id,title,popularity\n")
    app = opened(broken)
    assert not app.exception
    (error,) = app.error
    assert error.value.startswith("expected ")
    assert "items.csv" in error.value
    assert not app.button
    gone = opened(tmp_path / "nowhere")
    assert "no such folder" in gone.error[0].value


@pytest.mark.parametrize("kind", ["gru", "window", "encode-only"])
def test_every_kind_of_model_has_its_pages(
    opened: Callable[..., AppTest],
    twin_engine: Callable[[str], tuple[Twin, Engine]],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    bundle = twin_engine(kind)[1].bundle.path
    app = opened(page="bundle_page", bundle=bundle)
    assert not app.exception
    assert ("None: every request reads" in text(app)) == (kind == "encode-only")
    reason = "no such model"
    monkeypatch.setattr(resources.LateTorch, "__init__", lambda self, bundle: setattr(self, "found", reason))
    app = AppTest.from_file(str(APP), default_timeout=WAIT).run()
    for _ in range(7):
        app.button(key="row-found-2").click().run()
        assert not app.exception
    shown = text(app)
    assert reason in shown
    again = {"gru": "all 7 events", "window": "newest 6 events", "encode-only": "newest 6 events"}[kind]
    assert f"{again} again, ONNX Runtime" in shown
    assert ("this model keeps no state" in shown) == (kind == "encode-only")
    assert ("reads its window again" in shown) == (kind == "window")
    assert ("one step: event in, top-10 out" in shown) == (kind != "encode-only")
    assert len(app.get("plotly_chart")) == (kind != "encode-only")


def test_torch_that_is_missing_is_named(opened: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened()
    monkeypatch.setattr(
        resources.LateTorch, "__init__", lambda self, bundle: setattr(self, "found", "torch is not installed")
    )
    st.cache_resource.clear()
    app.button(key="row-place-1").click().run()
    assert "torch is not installed" in text(app)
    assert '<tr class="off">' in text(app)


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
    assert "recorded: re-reading 200 events" in shown
    assert "Live" not in shown
    assert "torch-cuda: no GPU that torch can use" in shown
    assert "1 ms" in shown
    app.select_slider(key="batch").set_value(8).run()
    assert "8,000" in text(app)

    def measured(
        bundles: list[Path], config: BenchmarkConfig, progress: Progress, cancelled: Callable[[], bool]
    ) -> BenchmarkReport:
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
    assert "live: re-reading 200 events" in shown
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
        bundles: list[Path], config: BenchmarkConfig, progress: Progress, cancelled: Callable[[], bool]
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
