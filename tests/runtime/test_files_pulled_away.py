"""What was checked is what is served: files that change under a running process change no answer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deployrec.runtime import Bundle, Recommender

LARGE = 200_000
"""Items of 64 numbers: a table that sessions map where they may, and page in when it is first read."""


def overwrite(path: Path) -> None:
    """As `cp another-bundle/* served-bundle/` does: the same file, other bytes."""
    with open(path, "r+b") as file:
        file.write(bytes(path.stat().st_size))


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def replace(path: Path) -> None:
    (path.parent / "new").write_bytes(bytes(path.stat().st_size))
    os.replace(path.parent / "new", path)


def remove(path: Path) -> None:
    path.unlink()


SCRIPT = """
import sys
from deployrec.runtime import Recommender
recommender = Recommender.load(sys.argv[1])
print("loaded", flush=True)
sys.stdin.readline()
recommender.encode_history("u", ["i1", "i7", "i3"])
recommender.observe("u", "i2")
for entry in recommender.recommend("u"):
    print(entry.item_id, entry.score)
"""


@pytest.mark.parametrize("change", [overwrite, truncate, replace, remove])
def test_answers_stay_whatever_becomes_of_the_files(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, change: Callable[[Path], None]
) -> None:
    original = twin_bundle(num_items=LARGE, dim=64)
    expected = answers(original.path, lambda: None)
    copied = Path(shutil.copytree(original.path, tmp_path / "served"))

    def pull_away() -> None:
        for path in [path for path in copied.iterdir() if path.is_file()]:
            change(path)

    assert answers(copied, pull_away) == expected
    assert len(expected.splitlines()) == 10


def answers(bundle: Path, between: Callable[[], None]) -> str:
    """What a process of its own recommends, once it has loaded the bundle and `between` has been called."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(bundle)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "loaded\n"
    between()
    output, _ = process.communicate("go\n", timeout=60)
    assert process.returncode == 0
    return output


def test_sessions_open_no_file(
    twin_bundle: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one of the right name where the process happens to run."""
    bundle = twin_bundle()
    expected = Recommender.load(bundle.path)
    expected.observe("u", "i3")
    (tmp_path / "items.bin").write_bytes(bytes(bundle.file("items.bin").stat().st_size))
    monkeypatch.chdir(tmp_path)
    recommender = Recommender.load(bundle.path)
    recommender.observe("u", "i3")
    assert recommender.recommend("u") == expected.recommend("u")
