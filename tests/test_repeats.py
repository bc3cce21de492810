"""Users who buy again: recognised in the log, then seen items stay candidates everywhere, unless one says otherwise."""

from __future__ import annotations

import io

import polars as pl
import pytest
from rich.console import Console

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.manifest import Manifest, manifest_digest
from deployrec.data import Dataset, load_dataset
from deployrec.errors import BundleError
from deployrec.evaluation import evaluate
from deployrec.export import export_bundle
from deployrec.runtime.recommender import Recommender
from deployrec.server import Settings
from deployrec.training.evaluate import Report
from deployrec.training.runs import Run
from deployrec.training.train import configure, train
from tests.server.conftest import serving

SETTINGS = {"dim": 8, "epochs": 2, "window": 10, "tokens": 200, "warmup_steps": 5, "seen_weight": 0.5}
ITEMS = 12


@pytest.fixture(scope="module")
def log() -> Dataset:
    """40 users who walk round three items, over and over."""
    rows = [(f"u{user}", f"i{(user + step % 3) % ITEMS}", step) for user in range(40) for step in range(9)]
    return load_dataset(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row"))


@pytest.fixture(scope="module")
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(scope="module")
def run(log: Dataset, said: io.StringIO, tmp_path_factory: pytest.TempPathFactory) -> Run:
    console = Console(file=said, width=200)
    return train("gru4rec", log, settings=SETTINGS, root=tmp_path_factory.mktemp("again"), console=console)


@pytest.fixture(scope="module")
def bundle(log: Dataset, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("bundle") / "b"
    return export_bundle(run.model(), log, out, window=10, longest=2000, exclude_seen=run.training.exclude_seen).bundle


def test_a_log_of_repeats_is_recognised(log: Dataset, sample: Dataset) -> None:
    assert log.repeat_share == pytest.approx(6 / 9)
    assert log.repeats
    assert not sample.repeats
    for dataset, seen, weight in ((log, "candidates", 1.0), (sample, "excluded", 0.0)):
        recipe = configure("gru4rec", dataset, "quick")[1]
        assert recipe.seen == seen
        assert recipe.seen_weight == weight
    assert configure("gru4rec", log, "quick", settings={"seen": "excluded"})[1].exclude_seen
    assert configure("gru4rec", sample, "quick", settings={"seen": "candidates"})[1].seen_weight == 1


def test_training_says_so_and_judges_by_what_will_be_served(run: Run, log: Dataset, said: io.StringIO) -> None:
    assert "67% of the events repeat an item of their user: seen items stay candidates" in said.getvalue()
    assert run.training.seen_weight == 0.5
    report = evaluate(run, log)
    assert isinstance(report, Report)
    served = report.served()
    assert not served.masked
    assert served.metrics["hr@10"] > report.row("streamed").metrics["hr@10"] == 0  # all targets have been seen
    assert "seen items candidates" in repr(run)


def test_serving_keeps_seen_items_unless_asked(bundle: Bundle) -> None:
    assert not bundle.manifest.exclude_seen
    recommender = Recommender.load(bundle.path)
    recommender.encode_history("ann", [f"i{number}" for number in range(ITEMS)])
    assert len(recommender.recommend("ann", ITEMS)) == ITEMS
    assert not recommender.recommend("ann", ITEMS, exclude_seen=True)
    assert len(recommender.observe_and_recommend("ann", "i1", k=ITEMS)) == ITEMS
    assert len(recommender.observe_many([("ann", "i1")], recommend=ITEMS)[1]["ann"]) == ITEMS
    assert len(recommender.recommend_after(["i1"], ITEMS)) == ITEMS
    assert len(recommender.recommend_after(["i1"], ITEMS, exclude_seen=True)) == ITEMS - 1


def test_the_server_does_the_same(bundle: Bundle) -> None:
    with serving(Settings(bundle=str(bundle.path))) as client:
        client.post("/v1/events", json={"user": "ann", "item": "i1"})
        for query, length in (("", ITEMS), ("&exclude_seen=true", ITEMS - 1), ("&exclude_seen=false", ITEMS)):
            found = client.get(f"/v1/users/ann/recommendations?k={ITEMS}{query}").json()["recommendations"]
            assert len(found) == length
        for given, length in (({}, ITEMS), ({"exclude_seen": True}, ITEMS - 1)):
            asked = {"users": ["ann"], "k": ITEMS, **given}
            assert len(client.post("/v1/recommendations", json=asked).json()["recommendations"]["ann"]) == length


def test_evaluating_the_bundle_judges_as_it_serves(bundle: Bundle, log: Dataset) -> None:
    report = evaluate(bundle, log)
    assert isinstance(report, Report)
    assert not report.served().masked


def test_a_manifest_says_true_or_false(bundle: Bundle) -> None:
    document = {**bundle.manifest.document, "exclude_seen": "no"}
    with pytest.raises(BundleError, match="field 'exclude_seen' as true or false; got no"):
        Manifest.from_document({**document, "digest": manifest_digest(document)})
