"""Histories that go on and on: what a state gathers shows there, and only there."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from deployrec.bundle.manifest import PARITY
from deployrec.data import Dataset
from deployrec.errors import ParityError
from deployrec.export import export_bundle
from deployrec.models import State, glintru
from deployrec.runtime.verify import verify
from tests.support import random_model


@pytest.mark.slow
@pytest.mark.parametrize("key", ["glintru", "gru4rec", "recblr", "sasrec"])
def test_every_model_holds_up_to_100_000_events(key: str, sample: Dataset, tmp_path: Path) -> None:
    with mock.patch("deployrec.export.parity.LONGEST", 100_000):
        report = export_bundle(random_model(key, sample), sample, tmp_path / key)
    endless = [row for row in report.comparisons if ": 100000 events" in row.case]
    assert {row.case.rpartition(", ")[2] for row in endless} == {
        *("one item repeated", "two items in turn", "items at random", "users glued")
    }
    assert {"torch encode in chunks", "onnxruntime encode in chunks, in a batch"} <= {row.comparison for row in endless}
    assert "onnxruntime step in a batch" in {row.comparison for row in endless}
    if key != "recblr":  # whose decays near 1 count their own rounding; see ParityCases
        assert all(row.figure <= 1e-5 for row in endless if row.quantity == "user")
    again = verify(tmp_path / key)
    assert again.passed
    assert max(again.bundle.cases().lengths) == 100_000


def test_a_sum_that_drifts_is_refused(sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GLINT-RU's attention without the compensation, and as a sum: after 10,000 events of one item beyond its gates."""

    def summed(state: State, count: Tensor, excess: Tensor) -> State:
        total = state["0.mean"] * (count - 1) + (excess + state["0.mean"])
        return {"0.mean": total / count, "0.rest": torch.zeros_like(total)}

    monkeypatch.setattr(glintru, "remember", summed)
    monkeypatch.setattr("deployrec.export.parity.LONGEST", 10_000)
    with pytest.raises(ParityError, match="10000 events"):
        export_bundle(random_model("glintru", sample), sample, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [f"out.{PARITY.removesuffix('.json')}-failed.json"]
