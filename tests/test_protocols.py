"""Evaluation after a moment: what is asked, that it was not trained on, and that a bundle gives torch's figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from deployrec.data import Dataset, load_dataset
from deployrec.data.split import before, moment_of, split
from deployrec.errors import ConfigError, RunError
from deployrec.evaluation import evaluate
from deployrec.export import export_bundle
from deployrec.training.metrics import Ranks
from deployrec.training.protocols import evaluate_after, figures
from deployrec.training.report import ProtocolReport
from deployrec.training.runs import Run
from deployrec.training.targets import targets_of
from deployrec.training.train import train

SETTINGS = {"dim": 8, "epochs": 1, "window": 10, "tokens": 200, "warmup_steps": 5, "holdout": 0.2}
START = 1_700_000_000
PROTOCOLS = ("successive", "holdout")


def shop() -> pl.DataFrame:
    """60 users who come at their own times, 5 to 24 times, and walk round 25 items; some come late, some buy again."""
    rng = np.random.default_rng(3)
    rows = [
        (f"u{user}", f"i{(user + step // (1 + user % 2)) % 25}", START + 86_400 * int(day))
        for user in range(60)
        for step, day in enumerate(np.sort(rng.integers(8 * (user % 5), 60, size=5 + user % 20)))
    ]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="module")
def log() -> Dataset:
    return load_dataset(shop())


def trained(log: Dataset, model: str, folder: Path) -> Run:
    return train(model, log, settings=SETTINGS, root=folder, console=Console(quiet=True))


@pytest.fixture(scope="module")
def run(log: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(log, "gru4rec", tmp_path_factory.mktemp("after"))


def test_nothing_from_the_moment_on_is_trained_on(log: Dataset) -> None:
    moment = moment_of(log, 0.2)
    views, times = before(log, moment), log.clock()
    held_out = (times >= moment).sum()
    assert 0.2 * log.num_events <= held_out <= 0.25 * log.num_events
    for view in (views.train, views.validation):
        for row in range(len(view)):
            assert (times[view.starts[row] : view.stops[row]] < moment).all()
    assert (times[views.validation.stops] < moment).all()
    assert (times[views.test.stops] >= moment).all()
    trained_on = views.train.num_events + len(views.validation)
    assert trained_on == (times < moment).sum()
    assert split(log, 0.0).test.targets is not None
    asked = views.test.asked()
    np.testing.assert_array_equal(asked[:, 0], times[views.test.stops] - times[views.test.stops - 1])
    np.testing.assert_array_equal(asked[:, 1], (times[views.test.stops] / 86_400).astype(np.float32))


def test_successive_asks_for_every_later_event_from_all_before_it(log: Dataset) -> None:
    targets, times = targets_of(log, "successive", 0.2), log.clock()
    rows = [
        (user, at)
        for user in range(log.num_users)
        for at in range(log.offsets[user] + 1, log.offsets[user + 1])
        if times[at] >= targets.moment
    ]
    assert list(zip(targets.view.users, targets.view.stops, strict=True)) == rows
    assert targets.view.targets is not None
    np.testing.assert_array_equal(targets.view.targets, log.events[[at for _, at in rows]])
    assert targets.newcomers == (times[log.offsets[:-1]] >= targets.moment).sum()
    np.testing.assert_allclose(targets.ages, (times[[at for _, at in rows]] - targets.moment) / 86_400)


def test_holdout_asks_once_for_each_later_item_from_what_was_known(log: Dataset) -> None:
    targets, times = targets_of(log, "holdout", 0.2), log.clock()
    assert targets.view.targets is not None
    asked: dict[int, list[int]] = {}
    for row in range(len(targets.view)):
        assert (times[targets.view.starts[row] : targets.view.stops[row]] < targets.moment).all()
        asked.setdefault(int(targets.view.users[row]), []).append(int(targets.view.targets[row]))
    for user in range(log.num_users):
        own = slice(log.offsets[user], log.offsets[user + 1])
        later = log.events[own][times[own] >= targets.moment]
        known = (times[own] < targets.moment).any()
        assert sorted(asked.get(user, [])) == (np.unique(later).tolist() if known else [])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_bundle_served_event_by_event_has_the_figures_of_torch(
    log: Dataset, run: Run, tmp_path: Path, protocol: str
) -> None:
    same_figures(log, run, protocol, "streamed", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_bundle_that_reads_windows_again_has_them_too(log: Dataset, tmp_path: Path, protocol: str) -> None:
    same_figures(log, trained(log, "sasrec", tmp_path / "runs"), protocol, "windowed", tmp_path)


def same_figures(log: Dataset, run: Run, protocol: str, name: str, tmp_path: Path) -> None:
    training = {"holdout": run.training.holdout}
    bundle = export_bundle(run.model(), log, tmp_path / "b", window=10, longest=2000, training=training).bundle
    through_torch, served = (evaluate(one, log, protocol=protocol) for one in (run, bundle))
    assert isinstance(through_torch, ProtocolReport)
    assert isinstance(served, ProtocolReport)
    for masked in (True, False):
        one, other = through_torch.row(name, masked), served.row("onnxruntime", masked)
        assert (one.metrics, one.coverage, one.ages) == (other.metrics, other.coverage, other.ages)
    assert one.metrics["hr@10"] > 0


class Anew:
    """The same model without `walk`: every question from the first event on."""

    def __init__(self, run: Run) -> None:
        from deployrec.training.scorers import StreamedScorer

        self._scorer = StreamedScorer(run.model(), 4)
        self.name, self.chunk, self.scores = "anew", 4, self._scorer.scores


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_walking_changes_no_figure(log: Dataset, run: Run, protocol: str) -> None:
    walked = evaluate(run, log, protocol=protocol)
    assert isinstance(walked, ProtocolReport)
    anew = evaluate_after([Anew(run)], log, protocol, 0.2, baselines=False)
    for masked in (True, False):
        assert anew.row("anew", masked).metrics == pytest.approx(walked.row("streamed", masked).metrics)
        assert anew.row("anew", masked).coverage == walked.row("streamed", masked).coverage
    counted = sum(age.targets for age in walked.row("streamed").ages)
    assert counted == walked.targets
    assert "popularity, 7 days" in str(walked)


def test_a_list_of_several_targets_is_judged_as_a_whole() -> None:
    ranks = Ranks(np.array([3, 0, 50]), np.zeros(3, np.int64))
    found = figures(ranks, np.array([0, 0, 1]), "holdout")
    assert found["hr@10"] == 0.5
    assert found["mrr@10"] == 0.5
    gained, ideal = 1 / np.log2(5) + 1, 1 + 1 / np.log2(3)
    assert found["ndcg@10"] == pytest.approx(gained / ideal / 2)


def test_what_was_trained_on_is_not_asked_for(log: Dataset, run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a run trained on leave-one-out; got .* never saw the newest 0\.2"):
        evaluate(run, log)
    other = train("gru4rec", log, settings={**SETTINGS, "holdout": 0.0}, root=tmp_path, console=Console(quiet=True))
    for protocol in PROTOCOLS:
        with pytest.raises(
            ConfigError, match=f"trained before a moment for the protocol {protocol}; got .*holdout=0.1"
        ):
            evaluate(other, log, protocol=protocol)
    with pytest.raises(ConfigError, match="expected a protocol out of leave-one-out, successive, holdout; got 'next'"):
        evaluate(run, log, protocol="next")
    with pytest.raises(ConfigError, match="expected split for leave-one-out alone"):
        evaluate(run, log, protocol="successive", split="validation")


def test_a_log_without_times_has_no_moment(sample: Dataset) -> None:
    with pytest.raises(ConfigError, match="expected the time of every event of sample; got none"):
        split(sample, 0.1)
    same = load_dataset(shop().with_columns(timestamp=pl.lit(START)))
    with pytest.raises(ConfigError, match=r"expected events before a moment that holds out 0\.1"):
        moment_of(same, 0.1)
    apart = [("a", "x", START), ("a", "y", START), ("b", "x", START + 1), ("b", "y", START + 1)]
    frame = pl.DataFrame(apart, schema=["user_id", "item_id", "timestamp"], orient="row")
    with pytest.raises(RunError, match="expected users of frame with events before and after the end of training"):
        targets_of(load_dataset(frame), "holdout", 0.5)
