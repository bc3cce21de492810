"""Every code block of README and docs runs, top to bottom, in one folder a page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.blocks import ROOT, Block, blocks, documents

COMMAND = f"{sys.executable} -m deployrec"
PAGES = [page for page in documents() if blocks(page)]
QUICK = {
    "CONTRIBUTING.md",
    "plugins_trt/README.md",
    *(f"docs/{page}.md" for page in ("data", "importing", "serving", "stores", "bundles", "cpp", "benchmarks")),
}
"""Pages that train nothing; the others take a minute or more."""


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Getting started leaves behind, from a shorter training."""
    folder = tmp_path_factory.mktemp("docs")
    run(f"{COMMAND} train --model glintru --set epochs=1 --set dim=16", folder)
    run(f"{COMMAND} export --model glintru", folder)
    return folder


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            p, marks=[] if str(p.relative_to(ROOT)) in QUICK else pytest.mark.slow, id=str(p.relative_to(ROOT))
        )
        for p in PAGES
    ],
)
def test_page(page: Path, bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(bundles / "bundles", tmp_path / "bundles")
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page")  # a real one, so that a class of the page can be found again
    monkeypatch.setitem(sys.modules, "page", module)
    for block in blocks(page):
        if block.reason:
            continue
        if block.language == "console":
            for command in block.commands:
                run(on_path(command), tmp_path)
        elif block.language == "python":
            exec(compile("\n" * block.line + block.text, str(page), "exec"), vars(module))
        elif block.language == "cpp":
            compiles(block, tmp_path)


def test_a_block_of_another_language_is_no_code() -> None:
    languages = {block.language for page in PAGES for block in blocks(page)}
    assert languages <= {"console", "python", "cpp", "cmake"}


def test_what_is_not_run_says_why() -> None:
    reasons = [block.reason for page in PAGES for block in blocks(page) if block.reason]
    assert reasons
    assert all(len(reason) > 20 for reason in reasons)


def on_path(command: str) -> str:
    """The command with this interpreter's deployrec, and a folder of its own in the place of a bundle made before."""
    command = re.sub(r"\bdeployrec(?= \w)", COMMAND, command)
    if " export " in command and " store " not in command and "--force" not in command:
        command += " --force"
    return command


def run(command: str, folder: Path) -> None:
    paths = [str(ROOT), str(ROOT / "kernels"), str(ROOT / "demo_app"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def compiles(block: Block, folder: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("needs a C++ compiler")
    source = folder / "block.cpp"
    body = block.text if "int main" in block.text else wrapped(block.text)
    source.write_text(body)
    include = ROOT / "plugins_trt" / "serving" / "include"
    run(f"c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only -I{include} {source}", folder)


def wrapped(text: str) -> str:
    """Statements of an excerpt as a program."""
    includes = "".join(line + "\n" for line in text.splitlines() if line.startswith("#include"))
    statements = "".join(line + "\n" for line in text.splitlines() if not line.startswith("#include"))
    return f"#include <cstdio>\n#include <memory>\n{includes}int main() {{\n{statements}}}\n"
