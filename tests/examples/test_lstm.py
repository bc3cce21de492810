"""A model from outside, examples/lstm: through every command, as module:Class and as an installed package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deployrec.data import Dataset
from deployrec.errors import ConfigError
from deployrec.export import export_bundle
from deployrec.models import State, build_model, model_class
from deployrec.models.testing import check_model
from deployrec.runtime import Recommender
from deployrec.runtime.verify import verify
from deployrec.training import train as training
from deployrec.training.runs import DataSource, Run, newest_finished

EXAMPLE = Path(__file__).parents[2] / "examples" / "lstm"
SPEC = "deployrec_lstm.model:LSTM"
SMALL = ["dim=8", "hidden=12", "epochs=1", "window=12", "tokens=400"]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)


@pytest.fixture
def log(tmp_path: Path) -> DataSource:
    """40 users who walk round a ring of 15 items."""
    rows = [f"u{user},film-{(user + step) % 15},{step}" for user in range(40) for step in range(8 + user % 20)]
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    return DataSource(str(tmp_path / "log.csv"))


def test_the_example_holds_the_contract() -> None:
    check_model(SPEC, {"dim": 6, "hidden": 5})
    assert len((EXAMPLE / "deployrec_lstm" / "model.py").read_text().splitlines()) <= 64


def test_from_a_log_to_a_verified_bundle_that_recommends(log: DataSource, tmp_path: Path) -> None:
    run = training.train(SPEC, log, settings=SMALL, root=tmp_path / "runs")
    assert run.path.parent == tmp_path / "runs" / "lstm"
    assert run.record["model"]["class"] == run.model_spec == SPEC
    found = newest_finished(tmp_path / "runs", SPEC)
    assert found is not None
    assert found.path == run.path
    model, dataset = Run.load(run.path).model(), log.load()
    report = export_bundle(model, dataset, tmp_path / "lstm", window=12)
    assert {row.comparison for row in report.comparisons} >= {"torch step", "onnxruntime step", "onnxruntime encode"}
    assert report.bundle.manifest.model["class"] == SPEC
    assert [t.name for t in report.bundle.manifest.state.tensors] == ["0.hidden", "0.cell"]
    assert verify(tmp_path / "lstm").passed
    recommender = Recommender.load(tmp_path / "lstm")
    best = recommender.observe_and_recommend("someone", "film-3", k=3)
    assert len(best) == 3


def test_a_class_of_the_same_name_elsewhere_is_another_model(
    log: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.train(SPEC, log, settings=SMALL, root=tmp_path / "runs")
    (tmp_path / "other_lstm.py").write_text((EXAMPLE / "deployrec_lstm" / "model.py").read_text())
    monkeypatch.syspath_prepend(tmp_path)
    assert model_class("other_lstm:LSTM").key == "lstm"
    assert newest_finished(tmp_path / "runs", "other_lstm:LSTM") is None


def test_a_run_whose_package_is_gone_says_so(log: DataSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = training.train(SPEC, log, settings=SMALL, root=tmp_path / "runs")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(EXAMPLE)])
    for name in [name for name in sys.modules if name.partition(".")[0] == "deployrec_lstm"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"expected a module deployrec_lstm.model to import; got none of that name"):
        Run.load(run.path).model()


def test_a_loop_over_the_time_axis_is_refused_in_one_line(sample: Dataset, tmp_path: Path) -> None:
    from deployrec_lstm.model import LSTM

    class Loops(LSTM):
        def encode(self, items: Tensor, lengths: Tensor, state: State | None = None) -> tuple[Tensor, State]:
            state, users = self.initial_state(items.shape[0]) if state is None else state, []
            for t in range(items.shape[1]):
                user, state = self.step(items[:, t], state)
                users.append(user)
            return torch.stack(users, 1), state

    model = build_model(Loops, sample.num_items, {"dim": 8, "hidden": 8})
    with pytest.raises(ConfigError, match=r"expected encode.onnx to export .*; loop over time by .*unroll") as error:
        export_bundle(model, sample, tmp_path / "loops")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_the_readme_says(tmp_path: Path) -> None:
    """Its blocks, one after the other, with the package installed by pip; deployrec is the one under test."""
    installed = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(installed), str(EXAMPLE)]
    subprocess.run(pip, check=True, timeout=300)
    room = tmp_path / "room"
    room.mkdir()
    path = os.pathsep.join([str(installed), *(entry for entry in sys.path if entry != str(EXAMPLE))])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    printed = ""
    for language, block in re.findall(r"```(bash|python)\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL):
        if block.startswith("pip install"):
            continue
        shell = ["bash", "-ec", f'deployrec() {{ "{sys.executable}" -m deployrec "$@"; }}\n{block}']
        command = shell if language == "bash" else [sys.executable, "-c", block]
        ended = subprocess.run(command, cwd=room, env=environment, capture_output=True, text=True, timeout=600)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        printed += ended.stdout
    assert "next: deployrec export --model" in printed
    assert "Parity holds" in printed
    assert re.search(r"^ 1 +film-6\b", printed, re.MULTILINE), printed
