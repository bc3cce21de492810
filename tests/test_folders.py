"""Folders appear whole, replace others in one step, and what a killed process left is put in order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deployrec import folders
from deployrec.folders import place_instead, place_new, recover, staging


@pytest.fixture(params=["renameat2", "two renames"])
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the system's exchange of two names, and without."""
    if request.param == "two renames":
        monkeypatch.setattr(folders, "_RENAMEAT2", None)
    elif folders._RENAMEAT2 is None:
        pytest.skip("needs renameat2")
    return str(request.param)


def written(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text(text)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_appears_whole_and_nothing_else_is_left(tmp_path: Path, step: str) -> None:
    with staging(tmp_path / "deep" / "out") as folder:
        place_new(written(folder, "new"), tmp_path / "deep" / "out")
    assert (tmp_path / "deep" / "out" / "file").read_text() == "new"
    assert names(tmp_path / "deep") == ["out"]


def test_what_is_there_is_never_replaced_unasked(tmp_path: Path, step: str) -> None:
    with staging(tmp_path / "out") as folder:
        written(tmp_path / "out", "first")
        with pytest.raises(FileExistsError):
            place_new(written(folder, "second"), tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "first"
    assert names(tmp_path) == ["out"]


def test_a_folder_is_replaced(tmp_path: Path, step: str) -> None:
    written(tmp_path / "out", "old")
    with staging(tmp_path / "out") as folder:
        place_instead(written(folder, "new"), tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "new"
    assert names(tmp_path) == ["out"]


def test_there_must_be_one_to_replace(tmp_path: Path, step: str) -> None:
    with staging(tmp_path / "out") as folder, pytest.raises(FileNotFoundError):
        place_instead(written(folder, "new"), tmp_path / "out")
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interrupted_replacement_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setattr(folders, "_RENAMEAT2", None)
    written(tmp_path / "out", "old")
    rename = folders._rename_to_new

    def fail(source: Path, target: Path) -> None:
        if source.name == "out":
            raise error
        rename(source, target)

    monkeypatch.setattr(folders, "_rename_to_new", fail)
    with pytest.raises(error), staging(tmp_path / "out") as folder:
        place_instead(written(folder, "new"), tmp_path / "out")
    assert (tmp_path / "out" / "file").read_text() == "old"
    assert names(tmp_path) == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from deployrec import folders
place = Path(sys.argv[1])
kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "between":
    folders._RENAMEAT2 = None
    with folders.staging(place) as folder:
        (folder / "file").write_text("new")
        folders._rename_to_new = kill
        folders.place_instead(folder, place)
with folders.staging(place) as folder:
    (folder / "file").write_text("half")
    kill()
"""


def killed(place: Path, when: str) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(place), when], check=False)


def test_a_kill_between_the_two_renames_is_put_right_whatever_comes_next(tmp_path: Path) -> None:
    place = written(tmp_path / "out", "old")
    killed(place, "between")
    assert not place.exists()
    killed(place, "at once")
    assert (place / "file").read_text() == "old"
    recover(place)
    assert names(tmp_path) == ["out"]
    assert (place / "file").read_text() == "old"


def test_what_a_killed_process_wrote_is_cleared_away(tmp_path: Path, step: str) -> None:
    killed(tmp_path / "out", "at once")
    assert len(names(tmp_path)) == 1
    recover(tmp_path / "out")
    assert names(tmp_path) == []


def test_a_running_process_keeps_its_folder_in_whatever_pid_namespace(tmp_path: Path) -> None:
    with staging(tmp_path / "out") as folder:
        script = (
            f"from pathlib import Path; from deployrec.folders import recover; recover(Path({str(tmp_path / 'out')!r}))"
        )
        subprocess.run([sys.executable, "-c", script], check=True)
        recover(tmp_path / "out")
        assert folder.is_dir()


@pytest.mark.parametrize(
    "name", [".out.export-backup", ".out.writing-backup", ".out.writing-1234.x", ".other.writing-a"]
)
@pytest.mark.parametrize("make", [lambda path: written(path, "mine"), lambda path: path.write_text("mine")])
def test_a_users_own_files_stay(tmp_path: Path, name: str, make: Callable[[Path], object]) -> None:
    make(tmp_path / name)
    with staging(tmp_path / "out") as folder:
        place_new(written(folder, "new"), tmp_path / "out")
    assert names(tmp_path) == [name, "out"]


def test_names_are_taken_literally(tmp_path: Path) -> None:
    killed(tmp_path / "a1", "at once")
    killed(tmp_path / "a[1]", "at once")
    recover(tmp_path / "a[1]")
    assert [name.partition(".writing")[0] for name in names(tmp_path)] == [".a1"]


def test_a_folder_taken_before_it_was_locked_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may clear a staging folder away between its making and its lock."""
    opened = os.open
    calls: list[Path] = []

    def late(path: Path, flags: int, mode: int = 0o777, **where: int) -> int:
        if str(path).endswith(folders.LOCK) and not calls:
            calls.append(path)
            Path(path).parent.rmdir()
        return opened(path, flags, mode, **where)

    monkeypatch.setattr(os, "open", late)
    with staging(tmp_path / "out") as folder:
        assert folder.is_dir()
    assert len(calls) == 1
    assert names(tmp_path) == []
