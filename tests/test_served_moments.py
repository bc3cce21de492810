"""A time-aware bundle that is served event by event, with the log's own times, has the figures of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from deployrec.bundle import Bundle
from deployrec.data import Dataset, load_dataset
from deployrec.data.split import moment_of
from deployrec.evaluation import evaluate
from deployrec.export import export_bundle
from deployrec.jobs.reencode import reencode
from deployrec.runtime import Recommender
from deployrec.time_units import PER_SECOND
from deployrec.training.metrics import Ranks
from deployrec.training.report import ProtocolReport
from tests.support import random_model

HOLDOUT, START = 0.3, 1_700_000_000
NEVER = 2**31


def visits(unit: str) -> pl.DataFrame:
    """50 users of 30 items who come after nothing, ticks, hours, days and years; some buy again."""
    draw, count = np.random.default_rng(4), PER_SECOND[unit]
    gaps = np.array([0, 1, 3 * count, 3_600 * count + 1, 86_400 * count, 40_000_000 * count])
    rows = []
    for user in range(50):
        time = START * count + int(draw.integers(10**7)) * count
        for _ in range(int(draw.integers(2, 25))):
            rows.append((f"u{user}", f"i{draw.integers(30)}", time))
            time += int(draw.choice(gaps, p=[0.3, 0.2, 0.2, 0.1, 0.18, 0.02]))
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="module", params=["s", "us"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Bundle]:
    """A log, and the bundle of a model with random weights that says it was trained before a moment of it."""
    log = load_dataset(visits(request.param))
    assert log.time_unit == request.param
    model, out = random_model("gru4rec", log, time=True), tmp_path_factory.mktemp("served") / "bundle"
    return log, export_bundle(model, log, out, window=20, longest=2000, training={"holdout": HOLDOUT}).bundle


def events(log: Dataset) -> Iterator[tuple[str, str, int, bool, bool]]:
    """user, item, time, whether it is the user's first event and whether it is asked for, in the order of time."""
    times, items, moment = log.clock(), log.items["item_id"].to_list(), moment_of(log, HOLDOUT)
    users = np.repeat(np.arange(log.num_users), np.diff(log.offsets))
    for at in np.argsort(times, kind="stable").tolist():
        first, asked = at == log.offsets[users[at]], bool(times[at] >= moment)
        yield log.user_ids[users[at]], items[log.events[at] - 1], int(times[at]), first, asked


def test_successive_figures_come_out_of_serving(served: tuple[Dataset, Bundle], tmp_path: Path) -> None:
    log, bundle = served
    report = evaluate(bundle, log, protocol="successive")
    assert isinstance(report, ProtocolReport)
    recommender = Recommender.load(bundle.path, store=f"lmdb:{tmp_path / 'users'}")
    better: dict[bool, list[int]] = {True: [], False: []}
    for number, (user, item, time, first, asked) in enumerate(events(log)):
        for masked, ranks in better.items() if asked and not first else ():
            found = recommender.recommend(user, log.num_items, exclude_seen=masked, now=time)
            ids = [entry.item_id for entry in found]
            ranks.append(ids.index(item) if item in ids else NEVER)
        recommender.observe(user, item, time=time)
        if number % 100 == 99:
            recommender.close()
            recommender = Recommender.load(bundle.path, store=f"lmdb:{tmp_path / 'users'}")
    recommender.close()
    assert len(better[True]) == report.targets > 50
    for masked, ranks in better.items():
        expected = report.row("onnxruntime", masked).metrics
        found_metrics = Ranks(np.array(ranks), np.zeros(len(ranks), int)).metrics()
        assert found_metrics == pytest.approx(expected, abs=1e-12)
    unknown = evaluate_without_times(bundle, log)
    assert unknown != pytest.approx(report.row("onnxruntime", True).metrics, abs=1e-3)


def evaluate_without_times(bundle: Bundle, log: Dataset) -> dict[str, float]:
    """The masked figures where nobody tells when events were: others, or the test above would show nothing."""
    recommender, ranks = Recommender.load(bundle.path), []
    for user, item, time, first, asked in events(log):
        if asked and not first:
            ids = [entry.item_id for entry in recommender.recommend(user, log.num_items, now=time, exclude_seen=True)]
            ranks.append(ids.index(item) if item in ids else NEVER)
        recommender.observe(user, item)
    return Ranks(np.array(ranks), np.zeros(len(ranks), int)).metrics()


def test_every_way_to_a_users_record_answers_alike(served: tuple[Dataset, Bundle], tmp_path: Path) -> None:
    """Event by event, in batches, encoded at once, encoded from the log, read on by the next bundle, bare."""
    log, bundle = served
    now = int(log.clock().max()) + 12_345
    single, batched, encoded = (Recommender.load(bundle.path) for _ in range(3))
    told = [(user, item, None, time) for user, item, time, _, _ in events(log)]
    for user, item, _, time in told:
        single.observe(user, item, time=time)
    batched.observe_many(told)
    items, clock = log.items["item_id"].to_list(), log.clock()
    histories = {
        user: ([items[row - 1] for row in log.history(n)], clock[log.offsets[n] : log.offsets[n + 1]].tolist())
        for n, user in enumerate(log.user_ids)
    }
    for user, (own, times) in histories.items():
        encoded.encode_history(user, own, times)
    address = f"lmdb:{tmp_path / 'users'}"
    assert reencode(bundle.path, address, data=log).encoded == log.num_users
    from_log = Recommender.load(bundle.path, store=address)
    expected = single.recommend_many(log.user_ids, 5, now=now)
    ways = [way.recommend_many(log.user_ids, 5, now=now) for way in (batched, encoded, from_log)]
    bare = batched.recommend_after_many(
        [own for own, _ in histories.values()], 5, now=now, times=[times for _, times in histories.values()]
    )
    for found in (*ways, dict(zip(histories, bare, strict=True))):
        for user, best in expected.items():
            np.testing.assert_allclose([e.score for e in found[user]], [e.score for e in best], atol=1e-4)
    for user in log.user_ids:
        records = [way.user(user) for way in (single, batched, encoded, from_log)]
        assert len({None if record is None else record.last_time for record in records}) == 1
