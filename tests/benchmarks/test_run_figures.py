"""benchmarks/seen_items.py and streaming.py: what they say of a run agrees with the run's own figures."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks import measuring, seen_items, streaming
from deployrec.data import leave_one_out
from deployrec.training.metrics import Ranks
from deployrec.training.runs import DataSource, Run
from deployrec.training.scorers import StreamedScorer
from deployrec.training.train import train

WINDOW = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short training on 30 users who walk round a ring of 30 items, all of them longer than the window."""
    folder = tmp_path_factory.mktemp("ring")
    lines = ["user_id,item_id,timestamp"]
    lines += [f"u{user},i{(3 * user + step * step) % 30},{step}" for user in range(30) for step in range(8 + user % 20)]
    (folder / "ring.csv").write_text("\n".join(lines) + "\n")
    source = DataSource(str(folder / "ring.csv"), {"min_user": 1, "min_item": 1})
    settings = ["dim=8", "tokens=100", "epochs=10", "warmup_steps=5", "learning_rate=0.05", f"window={WINDOW}"]
    return train("recblr", source, settings=settings, root=folder / "runs")


def printed(script: ModuleType, arguments: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["script.py", *map(str, arguments)])
    script.main()


def test_seen_items_stand_between_masked_and_unmasked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(seen_items, [run.path, "--out", tmp_path], monkeypatch)
    (row,) = json.loads((tmp_path / "seen_items.json").read_text())["rows"]
    figures = run.metrics["test"]["rows"]["streamed"]
    assert row["ndcg@10"]["masked"] == pytest.approx(figures["masked"]["ndcg@10"])
    assert row["ndcg@10"]["unmasked"] == pytest.approx(figures["unmasked"]["ndcg@10"])
    view = leave_one_out(run.dataset()).test
    histories = [view.history(user) for user in range(len(view))]
    scores = StreamedScorer(run.model(), WINDOW).scores(histories).numpy()
    last = np.array([history[-1] for history in histories])
    assert row["last_item_first"] == pytest.approx((scores.argmax(1) == last).mean())
    target = scores[np.arange(len(view)), view.targets][:, None]
    scores[np.arange(len(view)), np.where(last == view.targets, 0, last)] = -np.inf
    rank = (scores > target).sum(1)
    gain = np.where((rank < 10) & (last != view.targets), 1 / np.log2(rank + 2), 0)
    assert row["ndcg@10"]["without_last"] == pytest.approx(gain.mean())
    assert f"| {row['ndcg@10']['without_last']:.4f} |" in capsys.readouterr().out


def test_streaming_pools_both_splits_and_brackets_the_ratio(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(streaming, [run.path, "--out", tmp_path], monkeypatch)
    (row,) = json.loads((tmp_path / "streaming.json").read_text())["rows"]
    splits = [run.metrics[split] for split in ("validation", "test")]
    counts = [split["num_long"] for split in splits]
    assert row["held_out"] == sum(counts) > 20
    for name in ("windowed", "streamed"):
        means = [split["rows"][name]["masked_long_users"]["ndcg@10"] for split in splits]
        assert row[name] == pytest.approx(np.average(means, weights=counts))
    low, high = row["interval"]
    assert low < row["ratio"] < high
    assert f"{low:.3f} to {high:.3f}" in capsys.readouterr().out


def test_the_interval_of_a_constant_ratio_is_that_ratio() -> None:
    windowed = np.random.default_rng(1).random(50)
    assert streaming.interval(0.9 * windowed, windowed) == pytest.approx((0.9, 0.9))


def test_few_held_out_items_say_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for enough, told in ((1000, "too few to say"), (30, " to ")):
        monkeypatch.setattr(streaming, "ENOUGH_USERS", enough)
        printed(streaming, [run.path, "--out", tmp_path], monkeypatch)
        out = capsys.readouterr().out
        assert told in out
        assert "nan" not in out
    monkeypatch.setattr(
        streaming, "rank_users", lambda *arguments: [Ranks(np.empty(0, np.int64), np.empty(0, np.int64))]
    )
    assert streaming.row(run)["interval"] is None


def test_tracked_results_are_written_only_when_asked() -> None:
    parser = argparse.ArgumentParser()
    measuring.add_out(parser)
    assert parser.parse_args([]).out is None
    assert parser.parse_args(["--commit-results"]).out == measuring.RESULTS
    ignored = subprocess.run(["git", "check-ignore", "-q", measuring.UNTRACKED / "x.json"], cwd=measuring.RESULTS)
    assert ignored.returncode == 0


SCRIPTS = ["kernels", "latency", "accuracy", "scan_padding", "seen_items", "streaming"]
CATALOGUES = ["catalogue", "index_libraries", "large_training", "new_items"]


@pytest.mark.parametrize("script", [*SCRIPTS, *CATALOGUES])
def test_every_script_asks_in_the_same_way(script: str) -> None:
    folder = measuring.RESULTS.parent
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", f"benchmarks.{script}", "--help"]
    told = subprocess.run(command, cwd=folder.parent, text=True, capture_output=True, env=environment)
    assert "--commit-results" in told.stdout, told.stderr


@pytest.mark.parametrize("script", [seen_items, streaming])
def test_a_folder_that_is_no_run_ends_in_one_line(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        printed(script, [tmp_path, "--out", tmp_path / "results"], monkeypatch)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("script.py: expected a run folder with run.json; got ")
    assert not (tmp_path / "results").exists()
