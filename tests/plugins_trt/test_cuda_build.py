"""The CUDA build: no warning, no spill, and what it installs is what a consumer links."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.plugins_trt import toolchain
from tests.plugins_trt.test_plugin import assert_symbols

# ptxas 13.0 keeps up to eleven registers of the widest tensor-core kernel on the stack: addresses, read once a step.
SPILL_BYTES = 44


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [80, 90, 100])
@pytest.mark.parametrize("kernels", ["linear_recurrence", "gru_recurrence"])
def test_kernels_compile_without_spills(kernels: str, architecture: int, tmp_path: Path) -> None:
    toolchain.need("nvcc")
    source = toolchain.SOURCE / "src"
    command = ["nvcc", "-std=c++17", "-O3", f"-arch=sm_{architecture}", "-Xptxas", "-v", "-Werror", "all-warnings"]
    command += ["-Xcompiler=-Wall,-Wextra,-Werror", f"-I{source}", "-c", f"{source}/kernels/{kernels}.cu", "-o"]
    run = subprocess.run([*command, str(tmp_path / "kernels.o")], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    spills = [int(bytes_) for bytes_ in re.findall(r"(\d+) bytes spill stores", run.stderr)]
    assert spills
    assert max(spills) <= SPILL_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("major", [10, 11])
def test_cuda_build_installs_and_a_consumer_links_it(builds: Path, major: int, tmp_path: Path) -> None:
    toolchain.need("nvcc")
    headers = toolchain.headers(major)
    architectures = () if major == 11 else ("-DCMAKE_CUDA_ARCHITECTURES=90",)
    root = f"-DTensorRT_ROOT={headers.root}"
    folder = toolchain.build(builds, f"cuda-{major}", root, "-DCMAKE_BUILD_TYPE=Release", *architectures)
    assert_symbols(folder / "src" / "plugin" / "libdeployrec_plugin.so")
    toolchain.checked("cmake", "--install", folder, "--prefix", tmp_path / "installed")
    release = stand_in_release(tmp_path / "release", headers.root)
    options = (f"-DCMAKE_PREFIX_PATH={tmp_path / 'installed'}", f"-DTensorRT_ROOT={release}")
    consumer = toolchain.build(tmp_path, "consumer", *options, source=toolchain.SOURCE / "examples")
    run = subprocess.run(
        [str(consumer / "serve_events"), str(tmp_path / "absent")],
        input="1 2\n", capture_output=True, text=True, check=False, env={"LD_LIBRARY_PATH": str(release / "lib")},
    )  # fmt: skip
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    (line,) = run.stderr.splitlines()
    assert line.startswith("expected ")
    assert "; got " in line


def stand_in_release(folder: Path, headers: Path) -> Path:
    """A TensorRT release whose libnvinfer has the functions that the serving library links, and can do nothing."""
    (folder / "lib").mkdir(parents=True)
    (folder / "include").symlink_to(headers / "include")
    source = folder / "nvinfer.c"
    source.write_text(
        "void* createInferRuntime_INTERNAL(void* log, int version) { (void)log; (void)version; return 0; }\n"
        "void* getPluginRegistry(void) { return 0; }\n"
    )
    toolchain.checked(
        "cc", "-shared", "-fPIC", "-Wl,-soname,libnvinfer.so", "-o", folder / "lib" / "libnvinfer.so", source
    )
    return folder
