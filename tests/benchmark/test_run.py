"""A tiny run: every cell that the configuration names is there once, and stopping stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deployrec.benchmark import AXES, ENCODE, STEP, BenchmarkConfig, BenchmarkReport, run_benchmark
from deployrec.benchmark.calls import MANY, SINGLE
from deployrec.benchmark.report import ADVANCE, SCORE
from deployrec.bundle.bundle import Bundle
from deployrec.data import Dataset
from deployrec.errors import ConfigError

TINY = BenchmarkConfig(
    history=(2, 9),
    batch=(1, 3),
    catalogue=(600,),
    threads=(1, 2),
    base_history=5,
    backends=("onnxruntime", "torch"),
    seconds=0.01,
    rounds=2,
)


@pytest.fixture(scope="module")
def report(bundle_of: Callable[[str], Path], sample: Dataset) -> BenchmarkReport:
    return run_benchmark([bundle_of("recblr")], TINY, dataset=sample)


def test_every_cell_of_every_axis_is_there_once(report: BenchmarkReport, sample: Dataset) -> None:
    places = {(1, t, sample.num_items, 1) for t in (2, 5, 9)} | {(3, 5, sample.num_items, 1)}
    places |= {(1, 5, 600, 1), (1, 5, sample.num_items, 2)}
    expected = {("recblr", m, b, *place) for m in (STEP, ENCODE) for b in TINY.backends for place in places}
    graphs_and_calls = {(mode, batch) for mode in (ADVANCE, SCORE, *MANY) for batch in (1, 3)}
    graphs_and_calls |= {(call, 1) for call in SINGLE}
    expected |= {("recblr", mode, "onnxruntime", batch, 5, sample.num_items, 1) for mode, batch in graphs_and_calls}
    found = [(c.label, c.mode, c.backend, c.batch, c.history, c.catalogue, c.threads) for c in report.cells]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert not report.cancelled


def test_percentiles_are_in_order_and_throughput_counts_users(report: BenchmarkReport) -> None:
    for cell in report.cells:
        latency = cell.latency
        assert 0 < latency.p50 <= latency.p95 <= latency.p99
        assert latency.calls >= 3
        assert cell.throughput == pytest.approx(cell.batch / latency.mean)


def test_curves_follow_their_axis(report: BenchmarkReport, sample: Dataset) -> None:
    assert [c.history for c in report.curve("history", "recblr", STEP, "torch")] == [2, 5, 9]
    assert [c.batch for c in report.curve("batch", "recblr", ENCODE, "onnxruntime")] == [1, 3]
    assert [c.catalogue for c in report.curve("catalogue", "recblr", STEP, "torch")] == [sample.num_items, 600]
    assert [c.threads for c in report.fastest("threads", "recblr", STEP)] == [1, 2]


def test_the_parts_of_a_request_add_up(report: BenchmarkReport) -> None:
    stage = {s.name: s.seconds for s in report.stages}
    parts = sum(stage[name] for name in ("model step", "scoring and top-k", "state in and out", "Python"))
    assert parts == pytest.approx(stage["request"], rel=0.25)
    assert stage["open"] > stage["warm"]


def test_the_subject_names_its_bundle_and_sizes(report: BenchmarkReport, bundle_of: Callable[[str], Path]) -> None:
    (subject,) = report.subjects
    manifest = Bundle.open(bundle_of("recblr")).manifest
    assert (subject.bundle_id, subject.state_bytes) == (manifest.bundle_id, manifest.state.bytes)
    assert subject.user_bytes > subject.state_bytes
    assert not subject.random_weights


def test_json_round_trip(report: BenchmarkReport, tmp_path: Path) -> None:
    report.save(tmp_path / "report.json")
    assert BenchmarkReport.load(tmp_path / "report.json") == report


@pytest.mark.parametrize("turns", [0, 1, 7, 30])
def test_cancel_stops_before_the_next_turn_and_keeps_what_there_is(
    bundle_of: Callable[[str], Path], sample: Dataset, turns: int
) -> None:
    asked = []
    report = run_benchmark(
        [bundle_of("recblr")],
        replace(TINY, catalogue=(), threads=(), stages=False),
        dataset=sample,
        progress=lambda done, total, what: asked.append((done, total, what)),
        cancelled=lambda: len(asked) >= turns,
    )
    assert report.cancelled
    assert len(asked) == turns
    assert len(report.cells) < 2 * 2 * (len(AXES))


def test_progress_ends_at_its_total(bundle_of: Callable[[str], Path], sample: Dataset) -> None:
    seen = []
    config = replace(TINY, stages=False)
    run_benchmark(
        [bundle_of("recblr")], config, dataset=sample, progress=lambda done, total, what: seen.append((done, total))
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] - 1


def test_what_does_not_fit_is_named_and_not_run(bundle_of: Callable[[str], Path], sample: Dataset) -> None:
    config = replace(TINY, max_bytes=2_000_000, catalogue=(200_000,), history=(), batch=(), threads=(), stages=False)
    report = run_benchmark([bundle_of("recblr")], config, dataset=sample)
    assert {c.catalogue for c in report.cells} == {sample.num_items}
    reasons = {s.what: s.reason for s in report.skipped}
    what = "recblr step on onnxruntime: batch 1, history 5, 200,000 items, 1 thread"
    assert "above the limit of 0.0 GB" in reasons[what]


def test_absent_backends_are_named_once_and_without_a_path(bundle_of: Callable[[str], Path], sample: Dataset) -> None:
    names = ("onnxruntime", "onnxruntime-cuda", "tensorrt")
    config = replace(TINY, backends=names, catalogue=(600,), batch=(), stages=False)
    report = run_benchmark([bundle_of("recblr")], config, dataset=sample)
    present, absent = {c.backend for c in report.cells}, {s.what for s in report.skipped}
    assert "onnxruntime" in present
    assert {what for what in absent if what.partition(" ")[0] not in present} == set(names) - present
    assert not [s for s in report.skipped if str(bundle_of("recblr").parent) in s.reason]


def test_a_quick_run_has_cpp_in_it_or_says_why_not(bundle_of: Callable[[str], Path], sample: Dataset) -> None:
    backends = BenchmarkConfig.quick().backends
    config = replace(TINY, backends=backends, catalogue=(), batch=(), threads=(), stages=False)
    report = run_benchmark([bundle_of("recblr")], config, dataset=sample)
    reasons = {s.what: s.reason for s in report.skipped}
    assert "native" in report.backends("recblr", STEP) or "libdeployrec_serving.so" in reasons["native"]


def test_two_bundles_of_one_model_get_two_labels(bundle_of: Callable[[str], Path], sample: Dataset) -> None:
    config = replace(TINY, catalogue=(), batch=(), threads=(), stages=False, backends=("onnxruntime",))
    report = run_benchmark([bundle_of("recblr"), bundle_of("recblr")], config, dataset=sample)
    assert [s.label for s in report.subjects] == ["recblr", "recblr 2"]
    assert report.backends("recblr 2", STEP) == ["onnxruntime"]


def test_bad_requests_are_one_clear_line(bundle_of: Callable[[str], Path], sample: Dataset) -> None:
    with pytest.raises(ConfigError, match="expected at least one bundle"):
        run_benchmark([], TINY)
    with pytest.raises(ConfigError, match=r"expected backends out of .*; got 'abacus'"):
        run_benchmark([bundle_of("recblr")], replace(TINY, backends=("abacus",)), dataset=sample)
    with pytest.raises(ConfigError, match="expected batch above 0; got 0"):
        BenchmarkConfig(batch=(0,))
