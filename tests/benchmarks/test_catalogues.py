"""Benchmarks of large catalogues and new items, at small sizes: what they measure is what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import catalogue, index_libraries, large_training
from benchmarks.large_catalogue import histories, large_bundle, user_vectors
from benchmarks.new_items import measure, without
from deployrec.bundle.bundle import Bundle, seal
from deployrec.data import Dataset
from deployrec.export.index import write_index


def test_every_way_answers_and_recall_is_of_the_exact_lists(
    bundle_of: Callable[[str], Path], sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss", reason="needs faiss-cpu")
    monkeypatch.setattr(catalogue, "TURN", 2)
    large, source = large_bundle(Bundle.open(bundle_of("recblr")), 3000, tmp_path / "large")
    assert len(source) == 3001
    read = histories(sample, source, 20)
    users = [user for user in range(sample.num_users) if len(sample.history(user)) == len(read[0])]
    assert any((source[read[0]] == sample.history(user)).all() for user in users)
    facts = write_index(large.item_table(), user_vectors(large, read), large.path, np.zeros(0, np.int64))
    seal(large.path, {**large.manifest.document, "index": facts})
    rows = {row.way: row for row in catalogue.measure([large.path], read, events=4)}
    assert rows["exact"].recall == rows["1 % allowed"].recall == rows["100 allowed by id"].recall == 1
    assert rows["index"].recall > 0.9
    assert all(row.median_ms > 0 for row in rows.values())
    sizes = catalogue.sizes(Bundle.open(large.path))["bytes"]
    assert sizes["table"] == large.item_table().nbytes


def test_candidates_of_faiss_are_measured_against_exact_lists() -> None:
    faiss = pytest.importorskip("faiss", reason="needs faiss-cpu")
    table, queries = index_libraries.drawn(5000)
    exact = np.argpartition(-(queries @ table.T), 10)[:, :10]
    recalls = [
        index_libraries.measured(table, queries, exact, search)[0]
        for _, _, search in index_libraries.faiss(faiss, table, 1)
    ]
    assert recalls[3] > 0.9  # of the bytes, 32 lists of 71
    assert recalls[0] <= recalls[3]


def test_training_steps_are_taken_and_counted() -> None:
    row = large_training.measure("gru4rec", 100_000, windows=1, steps=1, device="cpu")
    assert row.events_per_step == 200
    assert row.loss.startswith("sampled")
    assert row.events_per_second == pytest.approx(200 / row.seconds_per_step)


def test_hidden_items_are_in_no_history_and_random_order_is_random(
    bundle_of: Callable[[str], Path], sample: Dataset
) -> None:
    hidden = np.arange(1, 49)
    warm = without(sample, hidden)
    ids = sample.items["item_id"].to_list()
    assert not {ids[row - 1] for row in hidden} & set(warm.items["item_id"].to_list())
    assert warm.num_events == int((~np.isin(sample.events, hidden)).sum())
    recalls = measure(Bundle.open(bundle_of("recblr")), sample, hidden)
    assert recalls["random"][2] == pytest.approx(10 / 48, abs=0.1)
    assert recalls["popularity"][1] >= recalls["popularity"][0]
