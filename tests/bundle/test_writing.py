"""A bundle is written whole or not at all, replaces another in one step, and survives a kill at any system call."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deployrec.bundle.bundle import Bundle, seal
from deployrec.bundle.writing import writing
from deployrec.errors import BundleError, ConfigError

MOVES = "rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat"
WRITES = f"{MOVES},fsync,ftruncate,chmod,fchmod,write,pwrite64,writev,sendfile,copy_file_range"

WRITE = """
import json, shutil, sys
from pathlib import Path
from deployrec import folders
from deployrec.bundle.bundle import seal
from deployrec.bundle.writing import writing

source, out, kill = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if sys.argv[4] == "two renames":
    folders._RENAMEAT2 = None
document = json.loads((source / "manifest.json").read_text())
document = {name: value for name, value in document.items() if name not in ("files", "bundle_id", "state_id", "digest")}
with writing(out, force=True) as folder:
    for path in source.iterdir():
        if path.is_file() and path.name != "manifest.json":
            shutil.copyfile(path, folder / path.name)
    seal(folder, document)
    seal(folder, {**document, "training": {"kill": kill}})
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("step", ["renameat2", "two renames"])
def test_a_kill_at_any_writing_call_leaves_a_valid_bundle(
    bundle_of: Callable[[str], Path], tmp_path: Path, step: str
) -> None:
    """What `export --force` does around its graphs. Where the system cannot exchange two names, the old bundle may
    stand aside for the moment between two renames: the next start of anything puts it back."""
    source, out = bundle_of("gru4rec"), tmp_path / "bundles" / "out"

    def write(kill: int, call: str = "", occurrence: int = 0) -> tuple[int, list[str]]:
        """One write, killed as it makes a system call for the n-th time: its exit code and the calls it made."""
        log = tmp_path / "log"
        inject = ["-e", f"inject={call}:signal=KILL:when={occurrence}"] if call else []
        command = [sys.executable, "-c", WRITE, str(source), str(out), str(kill), step]
        code = subprocess.run(
            ["strace", "-o", str(log), "-e", f"trace={WRITES}", *inject, *command],
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            timeout=120,
        ).returncode
        return code, re.findall(r"^(\w+)\(", log.read_text(), re.MULTILINE)

    assert write(0)[0] == 0
    code, calls = write(0)
    assert code == 0
    assert len(calls) >= 30
    stands, replaced, aside = 0, 0, 0
    for kill in range(1, len(calls) + 1):
        call = calls[kill - 1]
        occurrence = calls[:kill].count(call)  # strace counts each kind of call for itself
        assert write(kill, call, occurrence)[0] in (-signal.SIGKILL, 128 + signal.SIGKILL)
        if step == "two renames" and not out.exists():
            aside += 1
            assert write(kill, "mkdir", 1)[0] in (-signal.SIGKILL, 128 + signal.SIGKILL)
        found = Bundle.open(out).manifest.training["kill"]
        assert found in (stands, kill)
        replaced, stands = replaced + (found == kill), found
    assert 3 <= replaced < len(calls) - 3
    assert aside == (step == "two renames")
    assert write(0)[0] == 0
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.fixture
def made(bundle_of: Callable[[str], Path]) -> Callable[[Path, int], None]:
    """Fills a folder with a bundle that can be told from others."""

    def make(folder: Path, number: int) -> None:
        source = Bundle.open(bundle_of("gru4rec"))
        for name in source.manifest.files:
            shutil.copyfile(source.path / name, folder / name)
        seal(folder, {**source.manifest.document, "training": {"number": number}})

    return make


def number(out: Path) -> int:
    return int(Bundle.open(out).manifest.training["number"])


def test_of_two_at_once_the_later_is_refused(tmp_path: Path, made: Callable[[Path, int], None]) -> None:
    out = tmp_path / "out"

    def both() -> None:
        with writing(out, force=False) as late:
            with writing(out, force=False) as early:
                made(early, 1)
            made(late, 2)

    with pytest.raises(ConfigError, match="which exists; pass --force"):
        both()
    assert number(out) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_of_two_that_replace_the_later_stands(tmp_path: Path, made: Callable[[Path, int], None]) -> None:
    out = tmp_path / "out"
    with writing(out, force=True) as late:
        with writing(out, force=True) as early:
            made(early, 1)
        assert number(out) == 1
        made(late, 2)
    assert number(out) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_came_meanwhile_and_is_no_bundle_is_not_replaced(
    tmp_path: Path, made: Callable[[Path, int], None]
) -> None:
    out = tmp_path / "out"

    def write() -> None:
        with writing(out, force=True) as folder:
            made(folder, 1)
            out.mkdir()
            (out / "thesis.txt").write_text("mine")

    with pytest.raises(ConfigError, match="which is none"):
        write()
    assert (out / "thesis.txt").read_text() == "mine"


def test_a_link_to_a_bundle_goes_on_pointing_at_it(tmp_path: Path, made: Callable[[Path, int], None]) -> None:
    with writing(tmp_path / "v1", force=False) as folder:
        made(folder, 1)
    (tmp_path / "current").symlink_to("v1")
    with writing(tmp_path / "current", force=True) as folder:
        made(folder, 2)
    assert (tmp_path / "current").is_symlink()
    assert number(tmp_path / "v1") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "v1"]


def test_an_error_in_between_leaves_what_stood(tmp_path: Path, made: Callable[[Path, int], None]) -> None:
    out = tmp_path / "out"
    with writing(out, force=False) as folder:
        made(folder, 1)
    with pytest.raises(BundleError, match=r"expected to write .*out; got '.*No space"), writing(out, force=True):
        raise OSError(28, "No space left on device")
    assert number(out) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
