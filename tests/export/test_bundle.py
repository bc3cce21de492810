"""Export ends with a verified bundle or with nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from deployrec.bundle.bundle import Bundle
from deployrec.bundle.parity import LONG
from deployrec.data import Dataset
from deployrec.errors import ConfigError, ParityError
from deployrec.export import export_bundle
from deployrec.export.parity import choose_histories
from deployrec.models.layers import CausalConv1d
from tests.support import BASELINES, each_key, random_model


@pytest.mark.parametrize("key", each_key("glintru", "gru4rec", "recblr", "sasrec", *BASELINES))
def test_certificate_lists_every_comparison_within_its_gate(bundle_of: Callable[[str], Path], key: str) -> None:
    bundle = Bundle.open(bundle_of(key))
    report = json.loads(bundle.file("parity.json").read_text())
    names = {row["comparison"] for row in report["comparisons"]}
    assert {"torch encode", "torch step", "torch encode, encode", "torch encode, step"} < names
    assert {"onnxruntime encode", "onnxruntime step", "onnxruntime score"} < names
    assert report["passed"]
    assert all(row["figure"] <= row["limit"] for row in report["comparisons"])
    cases = bundle.cases()
    assert {0, 1, 2, 3, 4, 49, 50, 511, 512, 513, LONG} <= set(cases.lengths)
    assert bundle.manifest.certificate == tuple(cases.lengths)
    assert bundle.file("parity_cases.npz").stat().st_size < 1_000_000


def test_a_centred_convolution_is_refused(sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    causal = CausalConv1d.forward

    def centred(self: CausalConv1d, x: Tensor, lengths: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        ahead = torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)
        return causal(self, ahead, lengths, past)[0], causal(self, x, lengths, past)[1]

    monkeypatch.setattr(CausalConv1d, "forward", centred)
    with pytest.raises(ParityError, match=r"expected torch .* of the float64 reference; got .*") as error:
        export_bundle(random_model("recblr", sample), sample, tmp_path / "out", window=50)
    assert error.value.exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out.parity-failed.json"]
    report = json.loads((tmp_path / "out.parity-failed.json").read_text())
    assert not report["passed"]


def test_a_graph_that_differs_from_the_model_is_refused(
    sample: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployrec.bundle.nodes import LINEAR_RECURRENCE
    from deployrec.export import onnx_bodies

    broken = onnx_bodies._BODIES[LINEAR_RECURRENCE].replace("next = Add (decayed, b_t)", "next = Sub (b_t, decayed)")
    monkeypatch.setitem(onnx_bodies._BODIES, LINEAR_RECURRENCE, broken)
    with pytest.raises(ParityError, match="onnxruntime encode"):
        export_bundle(random_model("recblr", sample), sample, tmp_path / "out", window=50)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(sample: Dataset, tmp_path: Path, value: float) -> None:
    model = random_model("glintru", sample)
    with torch.no_grad():
        model.get_parameter("mixer.gate.weight")[0, 0] = value
    with pytest.raises(ConfigError, match=r"NaN or infinity in mixer\.gate\.weight"):
        export_bundle(model, sample, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_needs_force_and_a_bundle(
    bundle_of: Callable[[str], Path], sample: Dataset, tmp_path: Path
) -> None:
    model = random_model("recblr", sample)
    with pytest.raises(ConfigError, match="pass --force"):
        export_bundle(model, sample, bundle_of("recblr"))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="expected a bundle to replace"):
        export_bundle(model, sample, tmp_path / "precious", force=True)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "mine"


def test_force_replaces(sample: Dataset, tmp_path: Path) -> None:
    model = random_model("gru4rec", sample)
    first = export_bundle(model, sample, tmp_path / "out", window=50).bundle
    with torch.no_grad():
        model.embedding.weight[1] += 1
    second = export_bundle(model, sample, tmp_path / "out", window=50, force=True).bundle
    assert second.manifest.bundle_id != first.manifest.bundle_id
    assert Bundle.open(tmp_path / "out").manifest.bundle_id == second.manifest.bundle_id
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


SCRIPT = """
import resource, signal, sys
from tests.support import BASELINES, each_key, random_model
from deployrec.data import load_dataset
from deployrec.errors import DeployrecError
from deployrec.export import export_bundle
from deployrec.cli.main import _terminate
signal.signal(signal.SIGTERM, _terminate)
sample = load_dataset("sample")
print("ready", flush=True)
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    export_bundle(random_model("recblr", sample), sample, sys.argv[1], window=50)
except DeployrecError as error:
    print(type(error).__name__, error)
"""


def start_export(out: Path, limit: int = 0) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out), str(limit)], stdout=subprocess.PIPE, text=True, env=env
    )


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path) -> None:
    output, _ = start_export(tmp_path / "out", limit=20_000).communicate(timeout=300)
    line = output.splitlines()[-1]
    assert line.startswith("BundleError expected to write")
    assert "free disk space" in line
    assert list(tmp_path.iterdir()) == []


def test_a_terminated_export_leaves_nothing(tmp_path: Path) -> None:
    process = start_export(tmp_path / "out")
    assert process.stdout is not None
    process.stdout.readline()
    deadline = time.monotonic() + 120
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(tmp_path.iterdir())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_an_export_sweeps_up_after_one_that_was_killed(sample: Dataset, tmp_path: Path) -> None:
    process = start_export(tmp_path / "out")
    assert process.stdout is not None
    process.stdout.readline()
    while not list(tmp_path.iterdir()):
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "out").exists()
    export_bundle(random_model("recblr", sample), sample, tmp_path / "out", window=50)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_histories_have_the_asked_lengths_and_come_from_the_log(sample: Dataset) -> None:
    histories = choose_histories(sample, [0, 1, 7, 300], 10_000)
    assert [len(h.rows) for h in histories[:5]] == [0, 1, 7, 300, LONG]
    users = {tuple(sample.history(u)[:7].tolist()) for u in range(sample.num_users)}
    assert tuple(histories[2].rows.tolist()) in users
    assert all(1 <= row <= sample.num_items for h in histories for row in h.rows.tolist())
    endless = {h.name: h.rows for h in histories[-4:]}
    assert all(len(rows) == 10_000 for rows in endless.values())
    assert len(set(endless["one item repeated"])) == 1
    assert len(set(endless["two items in turn"])) == 2
    assert len(set(endless["items at random"])) == sample.num_items


@pytest.mark.parametrize("longest", [0, 1999, 100_001, 2000.5, "all"])
def test_histories_of_any_other_length_are_refused(sample: Dataset, tmp_path: Path, longest: object) -> None:
    with pytest.raises(ConfigError, match="expected longest from 2,000 to"):
        export_bundle(random_model("recblr", sample), sample, tmp_path / "out", longest=longest)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
