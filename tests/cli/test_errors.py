"""Whatever a user gets wrong ends in one line that says expected, got and what to do, and exit code 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from deployrec.data import Dataset, load_dataset
from deployrec.training.runs import DataSource, Run
from deployrec.training.train import start
from tests.cli.conftest import Ended
from tests.support import random_model

LOG = "user_id,item_id,timestamp\n"


def refused(ended: Ended, *parts: str) -> None:
    assert ended.code == 2, ended
    lines = ended.err.strip().splitlines()
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("deployrec: ")
    for part in ("expected ", "; got ", *parts):
        assert part in lines[0]
    assert lines[0].count("; ") >= 2  # the third part says what to do


@pytest.fixture
def run(sample: Dataset, tmp_path: Path) -> Run:
    """A finished run with random weights under tmp_path/runs."""
    made, _ = start("recblr", DataSource("sample"), settings=["dim=16"], root=tmp_path / "runs", dataset=sample)
    return made.finish(random_model("recblr", sample), {}, {})


@pytest.fixture
def bundle(bundle_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A private copy of an exported bundle."""
    return shutil.copytree(bundle_of("recblr"), tmp_path / "bundle")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["log.csv"]),
        ("", ["log.csv"]),
        (LOG, ["log.csv"]),
        (LOG + "1,2,3\n1,3,4\n1,4,5\n", ["two users", "got one"]),
        ("visitor,item_id,timestamp\n1,2,3\n", ["user_id", "visitor"]),
        (LOG + "1,2,3\n1,,4\n2,3,5\n", ["log.csv:3"]),
        (LOG + "1,2,3\n1,3,noon\n2,3,5\n", ["log.csv:3", "noon"]),
    ],
    ids=["missing file", "empty file", "no events", "one user", "unknown column", "no item", "no time"],
)
def test_a_log_that_cannot_be_trained_on(
    deployrec: Callable[..., Ended], tmp_path: Path, content: str | None, parts: list[str]
) -> None:
    log = tmp_path / "log.csv"
    if content is not None:
        log.write_text(content)
    refused(deployrec("train", "--model", "recblr", "--data", log, "--out", tmp_path / "runs"), *parts)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["export", "--model", "nextitnet"], ["nextitnet", "glintru"]),
        (["train", "--model", "nextitnet"], ["nextitnet", "glintru"]),
        (["train", "--model", "recblr", "--preset", "slow"], ["slow", "quick"]),
        (["train", "--model", "recblr", "--set", "depth=3"], ["depth"]),
        (["train", "--model", "recblr", "--set", "dim=wide"], ["dim", "wide"]),
        (["export", "--model", "recblr", "--run", "nowhere"], ["nowhere"]),
        (["evaluate", "--model", "recblr", "--runs", "nowhere"], ["nowhere"]),
        (["verify", "nowhere"], ["nowhere"]),
        (["info", "nowhere"], ["nowhere"]),
        (["recommend", "nowhere"], ["nowhere"]),
        (["data", "get", "netflix"], ["netflix", "ml-1m"]),
    ],
    ids=" ".join,
)
def test_a_name_that_is_not_known(
    deployrec: Callable[..., Ended],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    parts: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(deployrec(*arguments), *parts)
    assert list(tmp_path.iterdir()) == []


def test_export_refuses_other_data_than_the_runs(deployrec: Callable[..., Ended], run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(LOG + "".join(f"{u},{i},{i}\n" for u in range(3) for i in range(5)))
    out = tmp_path / "bundle"
    refused(deployrec("export", "--model", "recblr", "--run", run.path, "--data", log, "--out", out), "digest")
    assert not out.exists()


def test_export_refuses_weights_that_are_not_finite(deployrec: Callable[..., Ended], run: Run, tmp_path: Path) -> None:
    weights = load_file(run.path / "weights.safetensors")
    weights["norm.weight"][0] = torch.nan
    save_file(weights, run.path / "weights.safetensors")
    out = tmp_path / "bundle"
    refused(deployrec("export", "--model", "recblr", "--run", run.path, "--out", out), "NaN", "norm.weight")
    assert not out.exists()


def test_export_refuses_an_unfinished_run_and_an_existing_folder(
    deployrec: Callable[..., Ended], run: Run, bundle: Path
) -> None:
    refused(deployrec("export", "--model", "recblr", "--run", run.path, "--out", bundle), "--force")
    record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**record, "finished": False}))
    out = bundle.with_name("other")
    refused(deployrec("export", "--model", "recblr", "--run", run.path, "--out", out), "--resume")
    assert not out.exists()


@pytest.mark.parametrize("verb", ["verify", "info", "recommend"])
@pytest.mark.parametrize(
    "name", ["manifest.json", "step.onnx", "encode.onnx", "score.onnx", "items.bin", "items.csv", "weights.safetensors",
             "parity.json", "parity_cases.npz"]
)  # fmt: skip
def test_a_flipped_byte_in_any_file(deployrec: Callable[..., Ended], bundle: Path, verb: str, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    refused(deployrec(verb, bundle))


def test_a_truncated_file_and_a_newer_schema(deployrec: Callable[..., Ended], bundle: Path) -> None:
    content = (bundle / "items.bin").read_bytes()
    (bundle / "items.bin").write_bytes(content[:-1])
    refused(deployrec("verify", bundle), "items.bin", f"{len(content):,} bytes")
    (bundle / "items.bin").write_bytes(content)
    text = (bundle / "manifest.json").read_text()
    (bundle / "manifest.json").write_text(text.replace('"schema_version": 2', '"schema_version": 3'))
    refused(deployrec("verify", bundle), "schema 2", "upgrade")


def test_items_and_numbers_that_a_bundle_does_not_have(deployrec: Callable[..., Ended], bundle: Path) -> None:
    known = load_dataset("sample").items["item_id"][0]
    refused(deployrec("recommend", bundle, "--history", f"{known},atlantis", "--on-unknown-item", "error"), "atlantis")
    refused(deployrec("recommend", bundle, "--history", known, "--k", 21), "21")
    refused(deployrec("recommend", bundle, "--history", known, "--on-unknown-item", "guess"), "guess")
    skipped = deployrec("recommend", bundle, "--history", f"{known},atlantis", "--k", 3)
    assert skipped.code == 0
    assert "1 of 2 items" in skipped.err


def test_a_disk_that_refuses_while_training(
    deployrec: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(run: Run, *arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Run, "_write_record", full)
    refused(deployrec("train", "--model", "recblr", "--out", tmp_path / "runs"), "No space left on device")
