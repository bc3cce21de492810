"""Builds of plugins_trt that the tests share, and the real TensorRT builder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins_trt import rtx_environment, toolchain


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all builds, one for the whole session, whatever the number of its processes."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "popen-gw" in base.name else base


@pytest.fixture(scope="session")
def cpu_build(builds: Path) -> Path:
    """The CPU build under the address and undefined behaviour sanitizers; without headers it has no plugin."""
    toolchain.need("nvcc")  # whose headers the kernels and TensorRT's own headers include
    found = toolchain.find_headers(11)
    options = [
        "-DDEPLOYREC_CPU=ON",
        "-DDEPLOYREC_TESTS=ON",
        "-DDEPLOYREC_SANITIZE=address,undefined",
        "-DCMAKE_CXX_FLAGS=-O1 -g",
    ]
    targets = [
        "emulate_gru",
        "serving_test",
        "state_file_test",
        *(["drive_enqueue", "plugin_test"] if found else ["drive_kernels"]),
    ]
    root = [f"-DTensorRT_ROOT={found.root}"] if found else []
    return toolchain.build(builds, "cpu-asan", *options, *root, targets=targets)


@pytest.fixture(scope="session")
def plugin(builds: Path) -> Path:
    """The plugin library of a plain CPU build: what a builder loads in these tests."""
    toolchain.need("nvcc")
    root = toolchain.headers(11).root
    options = ("-DDEPLOYREC_CPU=ON", f"-DTensorRT_ROOT={root}")
    folder = toolchain.build(builds, "cpu", *options, targets=("deployrec_plugin",))
    return folder / "src" / "plugin" / "libdeployrec_plugin_cpu.so"


@pytest.fixture(scope="session")
def builder_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that can import tensorrt_bindings."""
    if reason := rtx_environment.missing():
        pytest.skip(f"the real builder {reason}")
    return rtx_environment.lay_out(tmp_path_factory.mktemp("tensorrt"))


@pytest.fixture(scope="session")
def library(builds: Path) -> Path:
    """The serving library, shared."""
    toolchain.need_onnxruntime()
    options = ["-DDEPLOYREC_CPU=ON", "-DDEPLOYREC_SHARED=ON", "-DCMAKE_BUILD_TYPE=Release"]
    options += ["-DCMAKE_DISABLE_FIND_PACKAGE_TensorRT=ON"]
    folder = toolchain.build(builds, "serving-shared", *options, targets=("deployrec_serving",))
    return folder / "serving" / "libdeployrec_serving.so"
