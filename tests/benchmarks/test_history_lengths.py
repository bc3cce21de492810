"""benchmarks/history_lengths.py: a row for each model and length, each from a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import history_lengths
from benchmarks.measuring import RESULTS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
def test_a_row_for_each_model_and_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["history_lengths.py", "--models", "gru4rec", "--lengths", "5", "10", "--events", "400", "--out"]
    monkeypatch.setattr("sys.argv", [*words, str(tmp_path)])
    history_lengths.main()
    rows = json.loads((tmp_path / "history_lengths.json").read_text())["rows"]
    assert [(row["model"], row["length"]) for row in rows] == [("gru4rec", 5), ("gru4rec", 10)]
    assert all(row["epoch_seconds"] > 0 and row["inference_ms"] > 0 and row["memory_mib"] > 0 for row in rows)
    assert "| 5 / 10 events | an epoch, s |" in capsys.readouterr().out


def test_the_docs_hold_the_table_of_the_committed_rows() -> None:
    document = json.loads((RESULTS / "history_lengths.json").read_text())
    rows = [history_lengths.Row(**row) for row in document["rows"]]
    assert {row.model for row in rows} == set(history_lengths.MODELS)
    assert history_lengths.table(rows) in (DOCS / "benchmarks.md").read_text()


def test_an_unknown_model_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["history_lengths.py", "--models", "gru5rec"])
    with pytest.raises(SystemExit) as stop:
        history_lengths.main()
    assert stop.value.code == 2
    assert "gru5rec" in capsys.readouterr().err.splitlines()[-1]


def test_more_events_hold_more_memory() -> None:
    few, many = (history_lengths.measure("gru4rec", 50, events, "cpu").memory_mib for events in (400, 8000))
    assert many > few
