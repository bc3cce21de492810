"""The day of a request: what training learns from it, and that graphs, bundle, runtime and evaluation hear the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from rich.console import Console

from deployrec import Recommender
from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.manifest import PARITY_CASES
from deployrec.data import Dataset, load_dataset
from deployrec.errors import BundleError, ConfigError, ParityError
from deployrec.export import export_bundle
from deployrec.models import build_model
from deployrec.models.time import PIECES, Calendar, Moment
from deployrec.runtime.clock import Clock
from deployrec.runtime.events import NO_TIME
from deployrec.runtime.verify import verify
from deployrec.training.runs import Run
from deployrec.training.train import train
from tests.support import random_model

START, DAY, ITEMS, SEASONS = 1_700_000_000, 86_400, 20, 4
SETTINGS: dict[str, Any] = {"dim": 32, "window": 20, "tokens": 400, "epochs": 40, "patience": 0, "warmup_steps": 5}
SETTINGS |= {"dropout": 0.0, "learning_rate": 0.01, "seen": "candidates", "time": True, "calendar": True}
TIMED = ("glintru", "gru4rec", "lrurec", "mamba4rec", "recblr")


def seasons(users: int = 400) -> pl.DataFrame:
    """Users who come once, and of whom each of four seasons of 50 days makes something else: a step of 1, 4, 9 or 16
    items from each to the next."""
    rng, rows = np.random.default_rng(5), []
    for user in range(users):
        season, item = user % SEASONS, int(rng.integers(ITEMS))
        time = START + season * 50 * DAY + int(rng.integers(40 * DAY))
        for _ in range(int(rng.integers(4, 8))):
            rows.append((f"u{user}", f"i{item}", time))
            item, time = (item + (season + 1) ** 2) % ITEMS, time + int(rng.integers(1, 600))
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="module")
def log() -> Dataset:
    return load_dataset(seasons())


def trained(log: Dataset, folder: Path, **settings: Any) -> Run:
    return train("gru4rec", log, settings=SETTINGS | settings, root=folder, console=Console(quiet=True))


@pytest.fixture(scope="module")
def run(log: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(log, tmp_path_factory.mktemp("calendar"))


@pytest.fixture(scope="module")
def bundle(log: Dataset, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(run.model(), log, tmp_path_factory.mktemp("bundle") / "b", window=20, longest=2000).bundle


def test_training_learns_what_a_season_means(run: Run, log: Dataset) -> None:
    """What follows a first event, whose season nothing but the day tells: a quarter would be chance."""
    model, names = run.model(), [int(name[1:]) for name in log.items["item_id"]]
    user, _ = model.step(torch.arange(1, ITEMS + 1), model.initial_state(ITEMS))
    right = []
    for season in range(SEASONS):
        asked = torch.tensor([60.0, START / DAY + 50 * season + 20])
        best = model.score(user, asked.expand(ITEMS, 2)).argmax(1).tolist()
        right += [names[row - 1] == (name + (season + 1) ** 2) % ITEMS for row, name in zip(best, names, strict=True)]
    assert np.mean(right) > 0.7


def test_pieces_hold_as_many_events_each() -> None:
    days = np.random.default_rng(3).uniform(19_000, 19_400, 6_400)
    calendar = Calendar(4)
    calendar.fit(days)
    held = np.histogram(days, [*calendar.starts.tolist(), calendar.span[1]])[0]
    assert (abs(held - 100) <= 2).all()
    assert calendar.span == pytest.approx((days.min(), days.max()))


@pytest.mark.parametrize("days", [[19_000.0] * 9, [19_000.0] * 90 + [19_001.0], [19_000.0, 19_000.5, 19_001.0]])
def test_few_days_make_few_pieces(days: list[float]) -> None:
    calendar = Calendar(2)
    calendar.fit(np.array(days))
    torch.nn.init.ones_(calendar.steps)
    passed = calendar(torch.tensor([[18_000.0], [19_000.0], [19_000.5], [19_001.0], [1e6]]))[:, 0]
    assert passed.isfinite().all()
    assert passed[0] == passed[1] == 0
    assert (passed.diff() >= 0).all()
    assert passed[3] == passed[4] <= min(PIECES, len(set(days)) * 32)


def test_a_calendar_wants_time() -> None:
    with pytest.raises(ConfigError, match="expected time=true beside calendar=true; got time=false; set both"):
        build_model("recblr", ITEMS, {"calendar": True})


def test_it_is_fitted_on_training_alone(log: Dataset, tmp_path: Path) -> None:
    model = trained(log, tmp_path, holdout=0.3, epochs=1).model()
    assert model.moment is not None
    assert model.moment.calendar is not None
    times = np.sort(log.clock())
    assert model.moment.calendar.span[1] <= times[int(0.7 * len(times))] / DAY


@pytest.mark.parametrize("later", [0, 3_600, 90 * DAY, 3_000 * DAY])
def test_the_runtime_tells_its_graphs_the_day(run: Run, bundle: Bundle, later: int) -> None:
    """As the model is told: at a moment, and right after an event, whose own day it then is."""
    recommender, model = Recommender.load(bundle.path), run.model()
    time, item = START + 30 * DAY, "i3"
    user, _ = model.step(torch.tensor([bundle.catalogue().rows[item]]), model.initial_state(1))
    day = torch.tensor([[float(later), np.float32((time + later) / DAY)]])
    expected = model.score(user, day)[0, 1:].detach().sort(descending=True).values[:5]
    recommender.observe("ann", item, time=time)
    found = recommender.recommend("ann", k=5, now=time + later, exclude_seen=False)
    np.testing.assert_allclose([each.score for each in found], expected, rtol=1e-4)
    if not later:
        at_once = recommender.observe_and_recommend("bob", item, k=5, time=time, exclude_seen=False)
        np.testing.assert_allclose([each.score for each in at_once], expected, rtol=1e-4)


def test_a_clock_tells_seconds_and_days() -> None:
    clock = Clock("ms", calendar=True)
    last = np.array([1_700_000_000_000, NO_TIME, 1_700_000_500_000])
    days = np.float32(1_700_000_000 / DAY), np.float32(1_700_000_500 / DAY)
    told = clock.elapsed(last, 1_700_000_500_000)
    np.testing.assert_array_equal(told, np.array([[500, days[1]], [-1, -1], [0, days[1]]], np.float32))
    np.testing.assert_array_equal(clock.elapsed(last[:1], 1_700_000_500_000), told[:1])
    at_once = clock.elapsed(last, None)
    np.testing.assert_array_equal(at_once, np.array([[0, days[0]], [-1, -1], [0, days[1]]], np.float32))
    assert (clock.elapsed(last, NO_TIME) == -1).all()


def test_the_certificate_asks_on_many_days(bundle: Bundle, run: Run) -> None:
    elapsed = bundle.cases().elapsed
    assert elapsed is not None
    model = run.model()
    assert model.moment is not None
    assert model.moment.calendar is not None
    first, last = model.moment.calendar.span
    known = elapsed[elapsed[:, 0] >= 0, 1]
    assert known.min() < first < last < known.max()
    assert (elapsed[elapsed[:, 0] < 0] == -1).all()
    assert verify(bundle.path).passed


def test_a_certificate_without_days_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle.path, tmp_path / "b")
    cases = bundle.cases()
    assert cases.elapsed is not None
    replace(cases, elapsed=cases.elapsed[:, 0].copy()).save(folder / PARITY_CASES)
    seal(folder, bundle.manifest.document)
    with pytest.raises(BundleError, match="expected a certificate of states, lists and times"):
        verify(folder)


@pytest.mark.parametrize(
    ("calendar", "got"),
    [(False, r"says \(moment \['B'\], .*; got moment \['B', 2\]"), ("yes", "'calendar' as true or false; got yes")],
)
def test_a_manifest_that_denies_its_calendar_is_refused(
    bundle: Bundle, tmp_path: Path, calendar: object, got: str
) -> None:
    folder = shutil.copytree(bundle.path, tmp_path / "b")
    document = bundle.manifest.document
    with pytest.raises(BundleError, match=got):
        seal(folder, {**document, "time": {**document["time"], "calendar": calendar}})


def test_graphs_that_hear_no_day_fail_the_certificate(
    log: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Moment.forward

    def deaf(self: Moment, user: torch.Tensor, elapsed: torch.Tensor) -> torch.Tensor:
        heard = elapsed * torch.tensor([1.0, 0.0]) if torch.compiler.is_exporting() else elapsed
        return forward(self, user, heard)

    monkeypatch.setattr(Moment, "forward", deaf)
    with pytest.raises(ParityError, match="of the float64 reference"):
        export_bundle(random_calendar("gru4rec", log), log, tmp_path / "b", window=20, longest=2000)


@pytest.mark.slow
@pytest.mark.parametrize("key", TIMED)
def test_every_model_with_a_calendar_exports_with_its_certificate(log: Dataset, tmp_path: Path, key: str) -> None:
    report = export_bundle(random_calendar(key, log), log, tmp_path / "b", window=20, longest=2000)
    assert all(row.passed for row in report.comparisons)


def random_calendar(key: str, dataset: Dataset) -> Any:
    """As after a training: all weights random, the calendar over the log's days."""
    model = random_model(key, dataset, time=True, calendar=True)
    assert model.moment is not None
    model.moment.fit(dataset.asked()[:, 1])
    return model
