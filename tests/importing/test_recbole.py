"""A checkpoint that RecBole trained answers here as it does there: the same lists for all users of its test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deployrec.data import Dataset
from deployrec.errors import DataError
from deployrec.export import export_bundle
from deployrec.importing.checkpoint import Checkpoint
from deployrec.importing.recbole import import_recbole
from deployrec.importing.recbole_bert4rec import RecBoleBERT4Rec
from deployrec.importing.recbole_models import ITEMS, recipe_of
from deployrec.models import SequentialRecommender, testing
from deployrec.runtime import Recommender
from deployrec.training.runs import Run
from tests.importing.conftest import FOLDER, LOG

Imported = Callable[[str], tuple[Run, Dataset]]
Answers = Callable[[str], list[dict[str, Any]]]

NAMES = ("GRU4Rec", "SASRec", "BERT4Rec", "NARM", "RecBLR")
TIES = 2e-6
"""Apart: the stored scores have six digits behind the point."""
models = pytest.mark.parametrize("name", NAMES)


@models
def test_the_twenty_best_are_those_of_recbole(name: str, imported: Imported, answers: Answers) -> None:
    run, dataset = imported(name)
    model, expected = run.model(), answers(name)
    assert len(expected) > 200
    for answer in expected:
        found = best(model, dataset, answer["history"], len(answer["top"]))
        assert_same_list(found, list(zip(answer["top"], answer["scores"], strict=True)))


@models
def test_histories_are_sorted_as_recbole_sorted_them(name: str, imported: Imported, answers: Answers) -> None:
    """By float32 times, in which close events tie; the log's own order is another."""
    _, dataset = imported(name)
    ids = ["", *dataset.items["item_id"]]
    user_of = {user: number for number, user in enumerate(dataset.user_ids)}
    for answer in answers(name):
        history = [ids[row] for row in dataset.history(user_of[answer["user"]])]
        assert history[:-1][-20:] == answer["history"]


def test_titles_and_data_come_with_the_run(imported: Imported) -> None:
    run, dataset = imported("GRU4Rec")
    assert run.finished
    assert run.record["imported"]["checkpoint"] == "GRU4Rec.pth"
    again = Run.load(run.path).dataset()
    assert again.digest == dataset.digest
    first = again.items.row(0, named=True)
    assert first["title"] == f"Film {first['item_id'][1:]}"


@pytest.mark.parametrize("name", ["GRU4Rec", "BERT4Rec", "NARM", "RecBLR"])
def test_a_bundle_serves_recboles_lists(name: str, imported: Imported, answers: Answers, tmp_path: Path) -> None:
    """Through the graphs, by the log's ids, from histories longer than RecBole reads."""
    run, dataset = imported(name)
    export_bundle(run.model(), dataset, tmp_path / "bundle", window=20)
    recommender = Recommender.load(tmp_path / "bundle")
    long = [answer for answer in answers(name) if len(answer["history"]) == 20][:20]
    for answer in (*long, *answers(name)[:20]):
        user = answer["user"]
        recommender.forget(user)
        for item in ["i1", "i2", "i3"][: 3 * (len(answer["history"]) == 20)] + answer["history"]:
            recommender.observe(user, item)
        served = recommender.recommend(user, k=20, exclude_seen=False)
        assert_same_list(
            [(item, score) for item, _, score in served], list(zip(answer["top"], answer["scores"], strict=True))
        )


def test_recblrs_padding_is_a_state_to_start_from(imported: Imported, answers: Answers) -> None:
    """Without it the first scores are others: the published code reads zeros up to a power of two before a history."""
    run, dataset = imported("RecBLR")
    model, first = run.model(), min(answers("RecBLR"), key=lambda answer: len(answer["history"]))
    weights = model.state_dict()
    for name in weights:
        if name.endswith(".start"):
            weights[name] = torch.zeros_like(weights[name])
    model.load_state_dict(weights)
    found = best(model, dataset, first["history"], 20)
    assert max(abs(score - wanted) for (_, score), wanted in zip(found, first["scores"], strict=True)) > 1e-3


def test_recboles_bert4rec_keeps_the_contract_of_models() -> None:
    testing.check_model(RecBoleBERT4Rec, {"dim": 7, "window": 20, "inner": 8, "layers": 1})


def test_whole_histories_are_carried_where_asked_for(tmp_path: Path) -> None:
    run, _ = import_recbole(FOLDER / "GRU4Rec.pth", LOG, root=tmp_path, whole_histories=True)
    assert run.model().state_spec.exact_up_to is None
    with pytest.raises(DataError, match="expected a recurrence for whole histories; got SASRec"):
        import_recbole(FOLDER / "SASRec.pth", LOG, root=tmp_path, whole_histories=True)


def test_a_log_that_is_not_the_trainings_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log.inter"
    log.write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        + "".join(f"u{n % 8}\ti{n % 5}\t3\t{n}\n" for n in range(80))
    )
    with pytest.raises(DataError, match="which left 153 items under the checkpoint's filters; got log with 5"):
        import_recbole(FOLDER / "GRU4Rec.pth", log, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("GLINT-RU", "got GLINT-RU, whose published code looks ahead"),
        ("Caser", "got Caser: it has a vector of every user of its training"),
        ("FPMC", "got FPMC: it has a vector of every user"),
        ("Mamba4Rec", "expected a checkpoint of GRU4Rec, .*; got Mamba4Rec"),
    ],
)
def test_models_that_cannot_give_the_same_scores_are_refused(model: str, reason: str) -> None:
    checkpoint = Checkpoint.read(FOLDER / "GRU4Rec.pth")
    with pytest.raises(DataError, match=reason):
        recipe_of(replace(checkpoint, model=model))


def test_other_layers_under_a_known_name_are_refused(tmp_path: Path) -> None:
    checkpoint = Checkpoint.read(FOLDER / "GRU4Rec.pth")
    odd = replace(checkpoint, weights={**checkpoint.weights, "gate.weight": torch.zeros(2)})
    with pytest.raises(DataError, match=r"the weight gate\.weight"):
        recipe_of(odd)
    with pytest.raises(DataError, match="expected the settings and weights of RecBole's GRU4Rec"):
        recipe_of(replace(checkpoint, weights={ITEMS: checkpoint.weights[ITEMS]}))
    with pytest.raises(DataError, match="MAX_ITEM_LIST_LENGTH"):
        recipe_of(replace(checkpoint, settings={"dropout_prob": 0.1}))


def best(model: SequentialRecommender, dataset: Dataset, history: Sequence[str], k: int) -> list[tuple[str, float]]:
    rows = torch.tensor([[dataset.row_of[item] for item in history]])
    with torch.no_grad():
        user, _ = model.encode_last(rows, torch.tensor([rows.shape[1]]))
        scores, found = model.score(user)[0].topk(k)
    ids = ["", *dataset.items["item_id"]]
    return [(ids[int(row)], float(score)) for row, score in zip(found, scores, strict=True)]


def assert_same_list(found: Sequence[tuple[str, float]], expected: Sequence[tuple[str, float]]) -> None:
    """The same items in the same order, but for items whose scores tie."""
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=TIES, rtol=1e-5)
    score_of = dict(expected)
    for (item, score), (wanted, _) in zip(found, expected, strict=True):
        assert item == wanted or abs(score_of.get(item, score) - score_of[wanted]) <= 2 * TIES
