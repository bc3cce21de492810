"""A checkpoint's pickle is read, and nothing that it names is run."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from deployrec.errors import DataError
from deployrec.importing.checkpoint import Checkpoint
from tests.importing.conftest import FOLDER


@pytest.mark.parametrize("model", ["GRU4Rec", "SASRec", "RecBLR"])
def test_what_a_checkpoint_says(model: str) -> None:
    """RecBLR's class is of a module that is nowhere installed."""
    checkpoint = Checkpoint.read(FOLDER / f"{model}.pth")
    assert checkpoint.model == model
    assert checkpoint.settings["MAX_ITEM_LIST_LENGTH"] == 20
    assert checkpoint.weights["item_embedding.weight"].shape[0] == 154


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("function", [os.mkdir, eval, getattr, torch.load, torch.hub.load], ids=lambda f: f.__name__)
def test_calls_are_refused_by_name(function: Any, tmp_path: Path) -> None:
    trap = str(tmp_path / "trap")
    argument = f"__import__('os').mkdir({trap!r})" if function is eval else trap
    torch.save({"config": Call(function, argument), "state_dict": {}}, tmp_path / "evil.pth")
    with pytest.raises(DataError, match=rf"a call of [\w.]*{function.__name__}, which is not run"):
        Checkpoint.read(tmp_path / "evil.pth")
    assert not Path(trap).exists()


def test_functions_that_a_pickle_may_call_stay_as_they_are(tmp_path: Path) -> None:
    """BUILD sets attributes: of torch's own functions it must reach none."""
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    state = pickle.dumps((None, {"__defaults__": (1, 2, 3)}), protocol=2)[2:-1]
    with zipfile.ZipFile(tmp_path / "odd.pth", "w") as archive:
        archive.writestr("odd/data.pkl", b"\x80\x02" + rebuild + state + b"b.")
        archive.writestr("odd/version", "3\n")
        archive.writestr("odd/byteorder", "little")
    before = torch._utils._rebuild_tensor_v2.__defaults__
    with pytest.raises(DataError, match="expected a checkpoint"):
        Checkpoint.read(tmp_path / "odd.pth")
    assert torch._utils._rebuild_tensor_v2.__defaults__ == before


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    texts, pickled, plain, bare = (tmp_path / name for name in ("a.pth", "b.pth", "c.pth", "d.pth"))
    texts.write_text("weights")
    pickled.write_bytes(pickle.dumps({"state_dict": {}}))
    torch.save({"state_dict": {"weight": torch.ones(2)}}, plain)
    with zipfile.ZipFile(bare, "w") as archive:
        archive.writestr("a/weights.bin", b"")
    for path, got in (
        (tmp_path / "none.pth", "which is not there"),
        (texts, "no archive of torch's"),
        (pickled, "no archive of torch's"),
        (plain, "no settings of a model"),
        (bare, "an archive without a pickle of weights"),
    ):
        with pytest.raises(DataError, match=got) as refused:
            Checkpoint.read(path)
        assert "\n" not in str(refused.value)


def test_a_torn_checkpoint_is_one_line(tmp_path: Path) -> None:
    content = (FOLDER / "GRU4Rec.pth").read_bytes()
    (tmp_path / "torn.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="expected a checkpoint"):
        Checkpoint.read(tmp_path / "torn.pth")
