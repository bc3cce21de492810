"""Every verb reads a log by the same options, those of `load_dataset`; a run and its bundle remember them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from deployrec.bundle.bundle import Bundle
from deployrec.cli.bench import bench
from deployrec.cli.data import info
from deployrec.cli.options import takes_log
from deployrec.cli.train import train
from deployrec.data import load_dataset
from deployrec.training.runs import DataSource, Run
from deployrec.training.train import start
from tests.cli.conftest import Ended

SETTINGS = [part for setting in ("dim=16", "epochs=1", "window=12", "tokens=400") for part in ("--set", setting)]


@pytest.mark.parametrize("verb", [train, info, bench], ids=lambda verb: verb.__name__)
def test_the_options_are_those_of_load_dataset(verb: Callable[..., None]) -> None:
    ours, theirs = inspect.signature(verb).parameters, inspect.signature(load_dataset).parameters
    assert "options" not in ours
    for name, parameter in theirs.items():
        if name not in ("source", "progress"):
            assert ours[name].default == parameter.default, name


def test_a_verb_gets_the_options_that_differ_from_their_default() -> None:
    got = []

    @takes_log
    def verb(data: str, *, options: dict) -> None:
        got.append((data, options))

    defaults = {name: p.default for name, p in inspect.signature(verb).parameters.items() if name != "data"}
    verb(data="x", **defaults)
    verb(data="x", **{**defaults, "time": "", "items": Path("items.csv"), "min_user": 5, "time_format": "iso"})
    assert got == [("x", {}), ("x", {"time": None, "items": "items.csv", "min_user": 5, "time_format": "iso"})]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Semicolons, month first, and 12 users who walk round a ring of 15 items."""
    lines = ["who;what;when"]
    for user in range(12):
        lines += [f"u{user};{(user + step) % 15};{step // 28 + 1}/{step % 28 + 1}/2024 8:00" for step in range(30)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(lines) + "\n")
    (tmp_path / "products.csv").write_text("what,name,shelf\n" + "".join(f"{at},P{at},S{at % 3}\n" for at in range(15)))
    return path


def test_a_run_and_its_bundle_are_read_as_they_were_trained(
    deployrec: Callable[..., Ended], log: Path, tmp_path: Path
) -> None:
    columns = ["--user", "who", "--item", "what", "--time", "when"]
    products = tmp_path / "products.csv"
    ended = deployrec("train", "--model", "recblr", "--data", log, *columns, "--time-format", "month-first", "--items",
                      products, "--out", tmp_path / "runs", *SETTINGS)  # fmt: skip
    assert ended.code == 0, ended.err
    (path,) = (tmp_path / "runs" / "recblr").iterdir()
    recorded = Run.load(path).record["data"]["options"]
    assert recorded == {"user": "who", "item": "what", "time": "when", "time_format": "month-first",
                        "items": str(products)}  # fmt: skip
    log, products = log.rename(tmp_path / "moved.csv"), products.rename(tmp_path / "elsewhere.csv")
    gone = deployrec("export", "--run", path, "--data", log, "--out", tmp_path / "bundle")
    assert gone.code == 2
    assert "expected a file of items" in gone.err
    done = deployrec("export", "--run", path, "--data", log, "--items", products, "--out", tmp_path / "bundle")
    assert done.code == 0, done.err
    bundle = Bundle.open(tmp_path / "bundle")
    catalogue = bundle.catalogue()
    assert catalogue.columns["shelf"][catalogue.rows["4"]] == "S1"
    assert catalogue.titles[catalogue.rows["4"]] == "P4"
    assert str(tmp_path) not in json.dumps(bundle.manifest.training["data_options"])
    assert deployrec("evaluate", tmp_path / "bundle", "--data", log).code == 0
    assert deployrec("evaluate", path, "--data", log).code == 0


def test_a_data_set_in_memory_knows_the_file_it_came_from(log: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"user": "who", "item": "what", "time": "when", "time_format": "month-first"}
    dataset = load_dataset(log, **options)
    run, _ = start("recblr", dataset, settings={"dim": 16}, root=tmp_path / "runs")
    assert run.source == DataSource(str(log), options)
    run.check_data(run.source.load())
    frame = pl.read_csv(log, separator=";")
    other, _ = start("recblr", load_dataset(frame, **options), settings={"dim": 16}, root=tmp_path / "runs")
    other.check_data(load_dataset(frame, **options))
    other.check_data(other.source_at(str(log)).load())
