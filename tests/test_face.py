"""`import deployrec` is the whole public face: lazy, complete, and clear about what is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import deployrec


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
