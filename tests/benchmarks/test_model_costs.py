"""benchmarks/model_costs.py: a row for each model, whose state is that of its bundle; and the committed rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import model_costs
from benchmarks.accuracy import parse
from benchmarks.measuring import RESULTS
from deployrec.models import available_models, build_model
from deployrec.training.config import parse_settings


@pytest.mark.slow
def test_a_row_for_each_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["model_costs.py", "--models", "gru4rec", "sasrec:block=ligr", "narm", "--seconds", "0.05", "--out"]
    monkeypatch.setattr("sys.argv", [*words, str(tmp_path)])
    model_costs.main()
    gru4rec, sasrec, narm = json.loads((tmp_path / "model_costs.json").read_text())["rows"]
    assert (gru4rec["again"], sasrec["again"], narm["again"]) == (0, 200, 50)
    assert (gru4rec["state_bytes"], narm["state_bytes"]) == (512, 4 * 50)
    assert min(row["request"] for row in (gru4rec, sasrec, narm)) > 0
    assert "sasrec:block=ligr" in capsys.readouterr().out


def test_every_model_has_a_committed_row_of_the_state_it_has_today() -> None:
    found = {row["model"]: row for row in json.loads((RESULTS / "model_costs.json").read_text())["rows"]}
    assert set(available_models()) <= set(found)
    for spec, row in found.items():
        model, settings = parse(spec)
        options = {"dim": model_costs.DIM, **parse_settings(model, settings)}
        state = build_model(model, model_costs.ITEMS, options).state_spec
        if not row["again"]:
            assert row["state_bytes"] == state.bytes


def test_an_unknown_model_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["model_costs.py", "--models", "gru5rec"])
    with pytest.raises(SystemExit) as stop:
        model_costs.main()
    assert stop.value.code == 2
    assert "gru5rec" in capsys.readouterr().err.splitlines()[-1]
