"""benchmarks/accuracy.py: rows are trained once, go on after a stop, and stand beside floors and published figures."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import accuracy
from benchmarks.measuring import RESULTS
from benchmarks.published import PUBLISHED
from deployrec.data import Dataset
from deployrec.training.module import TrainingModule
from deployrec.training.train import configure
from tests.support import interrupted_at

COMMITTED = json.loads((RESULTS / "accuracy.json").read_text())["rows"]
SIZES = {
    "ml-1m": SimpleNamespace(num_users=6_040, num_items=3_416, num_events=999_611, repeats=False),
    "ml-1m-timed-half": SimpleNamespace(
        num_users=2_999, num_items=3_416, num_events=487_344, repeats=False, clock=list
    ),
    "ml-100k": SimpleNamespace(num_users=943, num_items=1_682, num_events=100_000, repeats=False, clock=list),
    "ml-latest-small": SimpleNamespace(num_users=610, num_items=9_724, num_events=100_836, repeats=False, clock=list),
    "beauty": SimpleNamespace(num_users=22_363, num_items=12_101, num_events=198_502, repeats=False),
    "beauty-timed": SimpleNamespace(num_users=22_363, num_items=12_101, num_events=198_502, repeats=False, clock=list),
    "video": SimpleNamespace(num_users=24_303, num_items=10_672, num_events=231_780, repeats=False),
    "online-retail": SimpleNamespace(num_users=4_339, num_items=3_665, num_events=387_797, repeats=True, clock=list),
}
TINY = "dim=8,tokens=400,epochs=2,warmup_steps=5,window=12"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log called "beauty": 30 users who walk round a ring of 15 items."""
    lines = ["user_id,item_id,timestamp"]
    lines += [f"u{user},i{(user + step) % 15},{step}" for user in range(30) for step in range(8 + user % 20)]
    path = tmp_path / "beauty.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: object) -> list[dict]:
    words = ["accuracy.py", "--runs", folder / "runs", "--out", folder, *arguments]
    monkeypatch.setattr("sys.argv", [str(word) for word in words])
    accuracy.main()
    return json.loads((folder / "accuracy.json").read_text())["rows"]


def test_rows_are_trained_once_and_printed(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [f"recblr:{TINY}", f"sasrec:{TINY}"]
    asked = ["--data", log, "--preset", "quick", "--models", *models, "--seeds", 1, 2]
    rows = run(monkeypatch, tmp_path, *asked)
    assert [(row["model"], row["seed"]) for row in rows] == [(model, seed) for seed in (1, 2) for model in models]
    assert all(row["parameters"] > 0 and row["seconds"] >= 0 and row["device"] for row in rows)
    capsys.readouterr()
    monkeypatch.setattr(TrainingModule, "training_step", None)
    assert run(monkeypatch, tmp_path, *asked) == rows
    text = capsys.readouterr().out
    assert text.endswith((tmp_path / "accuracy.md").read_text())
    printed = text.splitlines()
    (line,) = [line for line in printed if line.startswith(f"| {models[0]} |")]
    first, second = (
        row["metrics"]["test"]["rows"]["streamed"]["masked"]["hr@10"] for row in rows if "recblr" in row["model"]
    )
    assert f"{(first + second) / 2:.4f} ± " in line
    for name in ("popularity", "bigram", "5-lag Markov"):
        assert any(line.startswith(f"| {name} |") for line in printed)
    for figures in PUBLISHED:
        shown = [line for line in printed if f"| {figures.hr:.4f} | {figures.ndcg:.4f} |" in line]
        assert bool(shown) == (figures.data == "beauty")
    run(monkeypatch, tmp_path, "--show", "--split", "validation")
    assert "beauty, preset quick, validation" in capsys.readouterr().out


def test_an_interrupted_row_goes_on(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["--data", log, "--preset", "quick", "--models", f"recblr:{TINY}"]
    with interrupted_at(epoch=1), pytest.raises(KeyboardInterrupt):
        run(monkeypatch, tmp_path, *asked)
    assert not (tmp_path / "accuracy.json").exists()
    (row,) = run(monkeypatch, tmp_path, *asked)
    assert len(list((tmp_path / "runs" / "recblr").iterdir())) == 1
    whole = run(monkeypatch, tmp_path / "other", *asked)
    assert row["metrics"] == whole[0]["metrics"]


def test_another_seed_or_setting_is_another_row(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["--data", log, "--preset", "quick", "--models"]
    run(monkeypatch, tmp_path, *asked, f"recblr:{TINY}")
    rows = run(monkeypatch, tmp_path, *asked, f"recblr:{TINY},conv=false")
    assert [row["config"]["conv"] for row in rows] == [True, False]
    assert rows[0]["state_bytes"] > rows[1]["state_bytes"]


def test_a_wrong_setting_is_refused_before_the_first_training(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, tmp_path, "--data", log, "--models", f"recblr:{TINY}", "glintru:heads=many")
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("accuracy.py: expected heads")
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.parametrize("row", COMMITTED, ids=lambda row: "-".join(str(row[name]) for name in accuracy.KEY))
def test_a_committed_row_is_what_its_command_would_train(row: dict[str, Any]) -> None:
    model, settings = accuracy.parse(row["model"])
    sizes = cast(Dataset, SIZES[row["data"]])  # its numbers are all that a recipe asks of it
    untrained, recipe = configure(model, sizes, row["preset"], row["seed"], settings)
    assert (row["config"], row["recipe"]) == (untrained.config_dict(), recipe.to_dict())


def test_the_committed_table_is_that_of_the_committed_rows() -> None:
    results = accuracy.Results(RESULTS / "accuracy.json")
    assert (RESULTS / "accuracy.md").read_text() == results.tables("test") + "\n"
