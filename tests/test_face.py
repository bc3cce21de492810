"""`import deployrec` is the whole public face: lazy, complete, and clear about what is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import deployrec
from deployrec.errors import ConfigError


def test_importing_loads_nothing_heavy() -> None:
    program = (
        "import sys, deployrec\n"
        "assert 'train' in dir(deployrec)\n"
        "heavy = {'torch', 'polars', 'onnx', 'onnxruntime', 'lightning', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_public_name_is_there() -> None:
    for name in deployrec.__all__:
        assert getattr(deployrec, name).__doc__, name
    assert sorted(deployrec._HOME_OF) == sorted(deployrec.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        deployrec.nothing  # noqa: B018


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(deployrec), "train", raising=False)
    for module in [name for name in sys.modules if name.startswith("deployrec.training")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(ConfigError, match=r'expected the package lightning; .* pip install "deployrec\[train\]"'):
        deployrec.train  # noqa: B018


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
