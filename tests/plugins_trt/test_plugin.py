"""The plugin library: recurrences against float64, the plugin protocol, a real registry, both header generations."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from deployrec.runtime.backends.tensorrt.plan_name import PlanName
from tests.plugins_trt import toolchain


def test_recurrences_agree_with_float64(cpu_build: Path) -> None:
    """Through the plugin objects; where they cannot be built, through the kernels' functions."""
    if toolchain.find_headers(11) is None:
        assert "ok" in toolchain.checked(cpu_build / "tests" / "drive_kernels")
        return
    library = cpu_build / "src" / "plugin" / "libdeployrec_plugin_cpu.so"
    assert "ok" in toolchain.checked(cpu_build / "tests" / "drive_enqueue", library)


def test_the_cuda_kernel_emulated_on_the_cpu_agrees_with_float64(cpu_build: Path) -> None:
    assert "ok" in toolchain.checked(cpu_build / "tests" / "emulate_gru")


def test_protocol(cpu_build: Path) -> None:
    toolchain.headers(11)
    library = cpu_build / "src" / "plugin" / "libdeployrec_plugin_cpu.so"
    assert "ok" in toolchain.checked(cpu_build / "tests" / "plugin_test", library)


@pytest.mark.parametrize("program", ["serving_test", "state_file_test"])
def test_serving_logic(program: str, cpu_build: Path, tmp_path: Path) -> None:
    assert "ok" in toolchain.checked(cpu_build / "tests" / program, tmp_path)


def test_the_library_reads_the_names_that_plans_get(cpu_build: Path) -> None:
    name = PlanName("advance", "b" * 64, "s" * 64, num_items=3416, window=200, max_k=0)
    printed = toolchain.checked(cpu_build / "tests" / "serving_test", "--plan-name", str(name))
    assert printed.split() == ["advance", "b" * 64, "s" * 64, "3416", "200", "0"]


def test_library_exports_two_functions_and_needs_no_tensorrt(plugin: Path) -> None:
    assert_symbols(plugin)


@pytest.mark.slow
@pytest.mark.parametrize("major", [10, 11])
def test_real_registry_takes_the_library_of_either_header_generation(builds: Path, major: int) -> None:
    """A library compiled with old headers must still be one that the 11.x registry understands."""
    spec = importlib.util.find_spec("tensorrt_lean_libs")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the package tensorrt-lean-cu13-libs")
    folder = Path(spec.submodule_search_locations[0])
    library, program = (generation(builds, version, "Release") for version in (major, 11))
    registry = next(folder.glob("libnvinfer_lean.so.*"))
    output = toolchain.checked(
        program / "tests" / "plugin_test",
        library / "src" / "plugin" / "libdeployrec_plugin_cpu.so",
        registry,
        LD_LIBRARY_PATH=str(folder),
    )
    assert "plugin protocol: ok" in output


@pytest.mark.slow
def test_old_headers_give_the_same_results(builds: Path) -> None:
    folder = generation(builds, 10, "Release")
    library = folder / "src" / "plugin" / "libdeployrec_plugin_cpu.so"
    assert "ok" in toolchain.checked(folder / "tests" / "plugin_test", library)
    assert "ok" in toolchain.checked(folder / "tests" / "drive_enqueue", library)
    assert_symbols(library)


def generation(builds: Path, major: int, build_type: str) -> Path:
    """The whole CPU build, serving engines too, with the headers of one TensorRT generation and -Werror."""
    options = ("-DDEPLOYREC_CPU=ON", "-DDEPLOYREC_TESTS=ON", f"-DCMAKE_BUILD_TYPE={build_type}")
    root = toolchain.headers(major).root
    return toolchain.build(builds, f"cpu-{major}", *options, f"-DTensorRT_ROOT={root}")


def assert_symbols(library: Path) -> None:
    toolchain.need("nm")
    lines = toolchain.checked("nm", "-D", "-C", library).splitlines()
    exported = {line.split()[-1] for line in lines if " T " in line or " D " in line or " B " in line}
    assert exported == {"getCreators", "setLoggerFinder"}
    undefined = [line for line in lines if " U " in line]
    assert undefined
    assert not [line for line in undefined if "nvinfer" in line or "getLogger" in line or "getPluginRegistry" in line]
