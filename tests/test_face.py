"""`import deployrec` is the whole public face: lazy, complete, and clear about what is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import deployrec
from deployrec.errors import ConfigError, DataError


def test_importing_loads_nothing_heavy() -> None:
    program = (
        "import sys, deployrec\n"
        "assert 'train' in dir(deployrec)\n"
        "heavy = {'torch', 'polars', 'onnx', 'onnxruntime', 'lightning', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_public_name_is_there() -> None:
    assert {*deployrec._HOME_OF, "__version__"} == set(deployrec.__all__)
    for name in deployrec._HOME_OF:
        assert getattr(deployrec, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        deployrec.nothing  # noqa: B018


def test_a_missing_extra_is_named() -> None:
    program = (
        "import sys, deployrec\n"
        "from deployrec.errors import ConfigError\n"
        "sys.modules['lightning'] = None  # importing it then says that there is no such module\n"
        "try:\n"
        "    deployrec.train\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert 'expected the package lightning; got none installed; run pip install "deployrec[train]"' in done.stdout


def test_from_a_frame_to_recommendations(tmp_path: Path) -> None:
    """The ten lines of the README."""
    log = pl.DataFrame(
        {
            "user_id": [user for user in range(60) for _ in range(8)],
            "item_id": [f"film {(user + step) % 25}" for user in range(60) for step in range(8)],
            "timestamp": list(range(480)),
        }
    )
    films = deployrec.load_dataset(log)
    run = deployrec.train("recblr", films, settings={"dim": 16, "epochs": 1}, root=tmp_path / "runs")
    report = deployrec.export_bundle(run.model(), films, tmp_path / "bundle")
    assert deployrec.verify(report.bundle.path).passed
    recommender = deployrec.Recommender.load(report.bundle.path)
    assert recommender.observe("ann", "film 3") is deployrec.Outcome.APPLIED
    best = recommender.recommend("ann", k=5)
    assert len(best) == 5
    assert "film 3" not in {item.item_id for item in best}


def test_a_frame_is_a_log_wherever_a_log_is_taken(tmp_path: Path) -> None:
    log = pd.DataFrame({"user_id": [0] * 6 + [1] * 6, "item_id": [*"abcabd", *"bcdabc"], "timestamp": range(12)})
    run = deployrec.train("gru4rec", log, settings={"dim": 8, "hidden": 8, "epochs": 1}, root=tmp_path)
    films = deployrec.load_dataset(log)
    run.check_data(films)
    assert deployrec.evaluate(run, log).to_dict() == deployrec.evaluate(run, films).to_dict()
    with pytest.raises(DataError, match=r"expected a path or a frame .* got list"):
        deployrec.train("gru4rec", [log], root=tmp_path)
    with pytest.raises(ConfigError, match=r"expected a model; got Run; pass its model\(\)"):
        deployrec.export_bundle(run, films, tmp_path / "bundle")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"expected a run, a bundle, .* got Dataset"):
        deployrec.evaluate(films, log)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="trained on, 4 items; got sample with 480"):
        deployrec.export_bundle(run.model(), deployrec.load_dataset("sample"), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    report = deployrec.export_bundle(run.model(), films, tmp_path / "bundle")
    assert repr(report).startswith(f"ExportReport({report.bundle!r}: parity holds)\n  ")
    assert len(repr(report)) < 1000
