"""What `cmake --install` lays down is what another project links: the programs of the documentation compile and run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deployrec.runtime.recommender import Recommender
from tests.plugins_trt import toolchain

pytestmark = pytest.mark.slow
EVENTS = ((7, 42), (8, 193), (7, 260), (7, 42), (8, 3))
CONSUMER = """cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES CXX)
find_package(deployrec REQUIRED)
add_executable(program program.cpp)
target_compile_features(program PRIVATE cxx_std_17)
target_link_libraries(program PRIVATE deployrec::serving)
"""


@pytest.fixture(scope="session", params=["static", "shared"])
def installed(request: pytest.FixtureRequest, builds: Path) -> Path:
    toolchain.need_onnxruntime()
    shared = "ON" if request.param == "shared" else "OFF"
    options = ["-DDEPLOYREC_CPU=ON", f"-DDEPLOYREC_SHARED={shared}", "-DCMAKE_BUILD_TYPE=Release"]
    options += ["-DCMAKE_DISABLE_FIND_PACKAGE_TensorRT=ON"]
    folder = toolchain.build(builds, f"serving-{request.param}", *options, targets=("deployrec_serving",))
    prefix = builds / f"installed-{request.param}"
    toolchain.checked("cmake", "--install", folder / "serving", "--prefix", prefix)
    return prefix


def test_the_example_answers_as_python_does(installed: Path, bundle_of: Callable[[str], Path], tmp_path: Path) -> None:
    path = bundle_of("glintru")
    source = toolchain.SOURCE / "examples"
    folder = toolchain.build(tmp_path, "examples", f"-DCMAKE_PREFIX_PATH={installed}", source=source)
    lines = "".join(f"{user} {row}\n" for user, row in EVENTS)
    run = subprocess.run(
        [folder / "serve_events", path], input=f"\n{lines}", capture_output=True, text=True, check=True
    )
    recommender = Recommender.load(path)
    ids, rows = recommender.catalogue.item_ids, recommender.catalogue.rows
    for line, (user, row) in zip(run.stdout.splitlines(), EVENTS, strict=True):
        best = recommender.observe_and_recommend(user, ids[row], k=5)
        assert re.findall(r" (\d+) \(", line) == [str(rows[item.item_id]) for item in best]
        scores = [float(score) for score in re.findall(r"\((\S+)\)", line)]
        assert scores == pytest.approx([item.score for item in best], abs=6e-4)


@pytest.mark.parametrize("page", ["docs/cpp.md", "plugins_trt/README.md"])
def test_the_programs_of_the_pages_compile_and_run(
    page: str, installed: Path, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    blocks = re.findall(r"^```cpp\n(.*?)^```$", (toolchain.ROOT / page).read_text(), re.M | re.S)
    programs = [block for block in blocks if "int main" in block]
    assert programs
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "glintru").symlink_to(bundle_of("glintru"))
    for number, program in enumerate(programs):
        source = tmp_path / f"source-{number}"
        source.mkdir()
        (source / "program.cpp").write_text(program)
        (source / "CMakeLists.txt").write_text(CONSUMER)
        folder = toolchain.build(tmp_path, f"build-{number}", f"-DCMAKE_PREFIX_PATH={installed}", source=source)
        run = subprocess.run([folder / "program"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.count("\n") >= 3
