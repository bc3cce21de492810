"""The moment of a request: what training learns from it, and that graphs, bundle and evaluation hear the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.manifest import PARITY_CASES
from deployrec.bundle.time_facts import TimeFacts
from deployrec.data import Dataset, load_dataset
from deployrec.data.split import leave_one_out
from deployrec.errors import BundleError, ConfigError, ParityError
from deployrec.evaluation import evaluate
from deployrec.export import export_bundle
from deployrec.models import SequentialRecommender, build_model
from deployrec.models.time import Moment
from deployrec.runtime.verify import verify
from deployrec.training.evaluate import Report
from deployrec.training.report import ProtocolReport
from deployrec.training.runs import Run
from deployrec.training.train import configure, train
from deployrec.training.windows import WindowBatches
from tests.support import random_model

START, DAY, ITEMS = 1_700_000_000, 86_400, 20
SETTINGS: dict[str, Any] = {
    "dim": 16,
    "window": 20,
    "tokens": 400,
    "epochs": 40,
    "patience": 0,
    "warmup_steps": 5,
    "dropout": 0.0,
}
SETTINGS |= {"learning_rate": 0.01, "seen": "candidates"}
TIMED = ("glintru", "gru4rec", "lrurec", "mamba4rec", "recblr")


def walks(users: int = 80) -> pl.DataFrame:
    """Users who go on to the next of 20 items at once, and after a pause of days to the one ten items on."""
    rng, rows = np.random.default_rng(5), []
    for user in range(users):
        item, time = int(rng.integers(ITEMS)), START + int(rng.integers(50 * DAY))
        for _ in range(int(rng.integers(8, 30))):
            rows.append((f"u{user}", f"i{item}", time))
            paused = rng.random() < 0.5
            item = (item + (ITEMS // 2 if paused else 1)) % ITEMS
            time += int(rng.integers(1, 9)) * DAY if paused else int(rng.integers(0, 3))
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="module")
def log() -> Dataset:
    return load_dataset(walks())


def trained(log: Dataset, folder: Path, model: str = "gru4rec", **settings: Any) -> Run:
    return train(model, log, settings=SETTINGS | settings, root=folder, console=Console(quiet=True))


@pytest.fixture(scope="module")
def run(log: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(log, tmp_path_factory.mktemp("timed"), time=True)


@pytest.fixture(scope="module")
def bundle(log: Dataset, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    training = {"metrics": run.metrics}
    out = tmp_path_factory.mktemp("bundle") / "b"
    return export_bundle(run.model(), log, out, window=20, longest=2000, training=training).bundle


def mrr(run: Run, scorer: str = "streamed") -> float:
    return float(run.metrics["test"]["rows"][scorer]["unmasked"]["mrr@10"])


def test_training_learns_what_a_pause_means(log: Dataset, run: Run, tmp_path: Path) -> None:
    timeless = mrr(trained(log, tmp_path))
    assert mrr(run) > 0.9 > 0.8 > timeless > 0.5
    assert mrr(run, "streamed, time unknown") == pytest.approx(timeless, abs=0.15)


def test_windows_hold_the_seconds_to_each_target(log: Dataset) -> None:
    batches = WindowBatches(leave_one_out(log).train, 7, 50, 0.5, seed=1, epoch=0, asked=log.gaps())
    gaps, asked = log.gaps(), 0
    places: dict[tuple[int, ...], set[float]] = {
        tuple(log.events[at : at + 2]): set() for at in range(log.num_events - 1)
    }
    for at in range(log.num_events - 1):
        places[tuple(log.events[at : at + 2])].add(float(gaps[at + 1]))
    for batch in batches:
        assert batch.elapsed is not None
        assert batch.elapsed.dtype == torch.float32
        for row, length in enumerate(batch.lengths.tolist()):
            for at in range(length):
                pair = int(batch.items[row, at]), int(batch.targets[row, at])
                assert float(batch.elapsed[row, at]) in places[pair]
                asked += 1
        assert not batch.elapsed[batch.targets == 0].any()
    assert asked == (leave_one_out(log).train.stops - leave_one_out(log).train.starts - 1).sum()


@pytest.mark.parametrize("key", TIMED)
def test_an_untrained_moment_changes_nothing(key: str) -> None:
    torch.manual_seed(1)
    model = build_model(key, ITEMS, {"time": True}).eval()
    user = torch.randn(4, model.config.dim)
    seconds = torch.tensor([-1.0, 0.0, 5.0, 1e9])
    torch.testing.assert_close(model.score(user, seconds), user @ model.embedding.weight.T + model.padding_mask)


def test_a_model_without_the_option_ignores_seconds() -> None:
    torch.manual_seed(1)
    model = build_model("recblr", ITEMS)
    user = torch.randn(2, model.config.dim)
    assert torch.equal(model.score(user, torch.tensor([0.0, 1e6])), model.score(user))


@pytest.mark.parametrize(
    ("frame", "got"),
    [
        (walks(9).drop("timestamp"), "got none"),
        (walks(9).with_columns(timestamp=pl.int_range(pl.len())), "got numbers that tell an order and no more"),
    ],
)
def test_a_log_without_times_is_refused(frame: pl.DataFrame, got: str) -> None:
    data = load_dataset(frame, time="timestamp" if "timestamp" in frame.columns else "")
    with pytest.raises(ConfigError, match=f"expected the time of every event of frame; {got}; .*or do without time"):
        configure("recblr", data, "quick", settings={"time": True})
    model = random_timed("gru4rec", data)
    with pytest.raises(ConfigError, match=f"expected the time of every event of frame; {got}"):
        export_bundle(model, data, "never-written")
    assert not Path("never-written").exists()


def test_a_model_that_knows_no_time_says_so(log: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"expected a setting out of .*; got 'time'; .*gru4rec.*recblr"):
        configure("sasrec", log, "quick", settings={"time": True})


def test_a_digest_covers_times(log: Dataset) -> None:
    assert log.times is not None
    later = log.times.copy()
    later[0] -= 1
    assert replace(log, times=later).digest != log.digest
    assert replace(log, time_unit="ms").digest != log.digest
    assert replace(log, times=1000 * log.times, time_unit="ms").digest == log.digest
    order = {replace(log, times=times, time_unit="").digest for times in (log.times, later, None)}
    assert len(order) == 1


def test_the_manifest_says_how_time_is_counted(log: Dataset, bundle: Bundle) -> None:
    assert bundle.manifest.time == TimeFacts("s", "second", float(log.gaps().max()), calendar=False)
    inputs = {name: [tensor.name for tensor in graph.inputs][:4] for name, graph in bundle.manifest.graphs.items()}
    assert inputs["step"] == ["item_id", "exclude_items", "k", "elapsed"]
    assert inputs["score"] == ["user", "exclude_items", "k", "elapsed"]
    assert inputs["moment"] == ["user", "elapsed"]
    assert "elapsed" not in {*inputs["advance"], *inputs["encode"]}


def test_the_certificate_asks_at_random_tied_huge_and_unknown_moments(bundle: Bundle) -> None:
    cases = bundle.cases()
    assert cases.elapsed is not None
    assert {0.0, -1.0} < set(cases.elapsed.tolist())
    assert cases.elapsed.max() > 100 * 365 * DAY
    assert len(np.unique(cases.elapsed)) > 5
    report = verify(bundle.path)
    assert report.passed
    assert "onnxruntime moment" in {row.comparison for row in report.comparisons}


def test_a_certificate_that_has_lost_its_moments_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle.path, tmp_path / "b")
    replace(bundle.cases(), elapsed=None).save(folder / PARITY_CASES)
    seal(folder, bundle.manifest.document)
    with pytest.raises(BundleError, match="expected a certificate of states, lists and times"):
        verify(folder)


@pytest.mark.parametrize(
    ("time", "got"),
    [
        (None, r"says \(none\); got moment \['B'\], score \['B'\], step \['B'\]"),
        ({"unit": "h", "resolution": "hour", "max_gap": 1.0}, "expected a time in s, ms, us, ns"),
        ({"unit": "s", "resolution": "second", "max_gap": -1.0}, "max_gap"),
        ({"unit": "s", "resolution": "second"}, "'time.max_gap' of type float"),
    ],
)
def test_a_manifest_that_says_something_else_of_time_is_refused(
    bundle: Bundle, tmp_path: Path, time: dict[str, Any] | None, got: str
) -> None:
    folder = shutil.copytree(bundle.path, tmp_path / "b")
    with pytest.raises(BundleError, match=got):
        seal(folder, {**bundle.manifest.document, "time": time})


def test_graphs_that_hear_no_seconds_fail_the_certificate(
    log: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Moment.forward

    def deaf(self: Moment, user: torch.Tensor, elapsed: torch.Tensor) -> torch.Tensor:
        return forward(self, user, elapsed.clamp(max=0) if torch.compiler.is_exporting() else elapsed)

    monkeypatch.setattr(Moment, "forward", deaf)
    with pytest.raises(ParityError, match="of the float64 reference"):
        export_bundle(random_timed("gru4rec", log), log, tmp_path / "b", window=20, longest=2000)
    comparisons = json.loads((tmp_path / "b.parity-failed.json").read_text())["comparisons"]
    failed = {row["comparison"] for row in comparisons if row["figure"] > row["limit"]}
    assert {"onnxruntime step", "onnxruntime score", "onnxruntime moment", "onnxruntime step in a batch"} < failed
    assert not any(name.startswith("torch") for name in failed)


@pytest.mark.slow
@pytest.mark.parametrize("key", TIMED)
def test_every_time_aware_model_exports_with_its_certificate(log: Dataset, tmp_path: Path, key: str) -> None:
    report = export_bundle(random_timed(key, log), log, tmp_path / "b", window=20, longest=2000)
    assert all(row.passed for row in report.comparisons)


def test_a_bundle_has_the_figures_of_torch(log: Dataset, run: Run, bundle: Bundle) -> None:
    through_torch, served = evaluate(run, log), evaluate(bundle, log)
    assert isinstance(through_torch, Report)
    assert isinstance(served, Report)
    for masked in (True, False):
        assert served.row("onnxruntime", masked).metrics == through_torch.row("streamed", masked).metrics
    assert through_torch.row("streamed", False).metrics != through_torch.row("streamed, time unknown", False).metrics


@pytest.mark.parametrize("calendar", [False, True])
def test_it_has_them_after_a_moment_too(log: Dataset, tmp_path: Path, calendar: bool) -> None:
    run = trained(log, tmp_path / "runs", time=True, calendar=calendar, holdout=0.3, epochs=2)
    training = {"holdout": run.training.holdout}
    bundle = export_bundle(run.model(), log, tmp_path / "b", window=20, longest=2000, training=training).bundle
    for protocol in ("successive", "holdout"):
        through_torch, served = (evaluate(one, log, protocol=protocol) for one in (run, bundle))
        assert isinstance(through_torch, ProtocolReport)
        assert isinstance(served, ProtocolReport)
        for masked in (True, False):
            one, other = through_torch.row("streamed", masked), served.row("onnxruntime", masked)
            assert (one.metrics, one.coverage, one.ages) == (other.metrics, other.coverage, other.ages)


def random_timed(key: str, dataset: Dataset) -> SequentialRecommender:
    """As after a training: all weights random."""
    return random_model(key, dataset, time=True)
