"""Histories that go on and on: what a state gathers shows there, and only there."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
from torch import Tensor

from deployrec.data import Dataset
from deployrec.export import export_bundle
from deployrec.models import State, glintru
from deployrec.runtime.verify import verify
from tests.support import BASELINES, random_model


@pytest.mark.slow
@pytest.mark.parametrize("key", ["glintru", "gru4rec", "recblr", "sasrec", *BASELINES])
def test_every_model_holds_up_to_100_000_events(key: str, sample: Dataset, tmp_path: Path) -> None:
    with mock.patch("deployrec.export.parity.LONGEST", 100_000):
        report = export_bundle(random_model(key, sample), sample, tmp_path / key)
    endless = [row for row in report.comparisons if ": 100000 events" in row.case]
    assert {row.case.rpartition(", ")[2] for row in endless} >= {"items at random", "users glued"}
    assert {"torch encode in chunks", "onnxruntime encode in chunks, in a batch"} <= {row.comparison for row in endless}
    assert "onnxruntime step in a batch" in {row.comparison for row in endless}
    held = report.bundle.manifest.endless
    real = {"items at random": 100_000, "users glued": 100_000}
    assert held.items() >= real.items()
    # One item over and over counts the rounding of RecBLR's decays near 1 a thousand times.
    assert key == "recblr" or set(held.values()) == {100_000}
    again = verify(tmp_path / key)
    assert again.passed
    assert max(again.bundle.cases().lengths) == 100_000


def test_a_sum_that_drifts_is_found(sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GLINT-RU's attention without the compensation, as a sum: after 10,000 events of one item beyond its gates."""

    def summed(state: State, count: Tensor, excess: Tensor) -> State:
        total = state["0.rest"] + excess + (count - state["0.count"]) * state["0.mean"]
        return {"0.mean": total / count, "0.rest": total}

    monkeypatch.setattr("deployrec.export.parity.LONGEST", 10_000)
    for held in (10_000, 0):
        bundle = export_bundle(random_model("glintru", sample), sample, tmp_path / str(held)).bundle
        assert bundle.manifest.endless["one item repeated"] == held
        assert max(bundle.cases().lengths) == 10_000  # real users hold either way
        monkeypatch.setattr(glintru, "remember", summed)
